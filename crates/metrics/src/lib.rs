//! Observers of a run: request records, percentiles, interval statistics.
