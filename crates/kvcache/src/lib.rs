//! KV blocks, the free queue and the prefix index.
