//! Readers and generators that yield requests.
