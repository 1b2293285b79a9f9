//! The engine from outside: laws that hold for every cluster and every workload, and runs small enough to add up by
//! hand.
//!
//! The laws are tried on random cases. One that fails is shrunk, and its seed is written to `proptest-regressions`, from
//! where it is tried first the next time. `PROPTEST_RNG_SEED` fixes the seed of the others, `PROPTEST_CASES` their number.

mod activity;
mod closed_form;
mod common;
mod coverage;
mod detailed;
mod details;
mod determinism;
mod intervals;
mod metamorphic;
mod overlap;
mod polling;
mod requests;
mod routing;
mod scale;
mod scheduler;
mod split;
mod tokens;
mod vllm;
mod waves;
mod work;
