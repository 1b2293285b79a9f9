//! The data the binary carries: example clusters, models, workloads.
