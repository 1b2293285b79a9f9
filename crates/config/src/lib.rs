//! Cluster files, model files and flags to a checked deployment.
