//! Topologies, collectives, shared memory devices: bytes and participants to time.
