//! Requests, scheduler, batches, forward passes, waves and the event loop.
