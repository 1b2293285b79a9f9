//! Expert placement, token routing and load per rank.
