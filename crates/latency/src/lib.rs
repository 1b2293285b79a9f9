//! Operator shape to nanoseconds: measured tables and an analytic model.
