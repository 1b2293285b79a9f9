//! Expert placement, token routing and load per rank.
//!
//! A mixture-of-experts block sends each token to `k` of its `E` experts. With expert parallelism the experts are spread
//! over `R` ranks, and what a rank computes in one block depends on two numbers, its [`RankLoad`]: how many tokens reach
//! it, and how many of its experts have anything to do. [`Placement`] says where experts are, a [`Policy`] how tokens
//! choose among them, and an [`ExpertRouter`] turns the tokens of a step into the load of every rank.

mod placement;
mod policy;
mod router;

pub use placement::Placement;
pub use policy::{Policy, UnknownPolicy};
pub use router::{ExpertRouter, RankLoad};
