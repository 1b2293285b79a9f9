//! Expert placement, token routing and load per rank.
//!
//! A mixture-of-experts block sends each token to `k` of its `E` experts. With expert parallelism the experts are spread
//! over `R` ranks, and what a rank computes in one block depends on two numbers, its [`RankLoad`]: how many tokens reach
//! it, and how many of its experts have anything to do. [`Placement`] says where experts are, an [`ExpertGate`] how
//! tokens choose among them, and an [`ExpertRouter`] turns the tokens of a step into the load of every rank.
//!
//! Gates come from an [`ExpertRouting`]: one of the closed-form or drawn policies of [`Policy`], routing recorded on a
//! real engine ([`RecordedRouting`]), or one of your own, which may leave the sums to [`MoeBlock::load_by_counts`] and
//! [`MoeBlock::load_by_choices`]. This one sends all tokens of layer `n` to expert `n`:
//!
//! ```
//! use moe::{ExpertGate, ExpertRouter, ExpertRouting, MoeBlock, RankLoad};
//!
//! #[derive(Debug)]
//! struct Collapsed;
//!
//! impl ExpertRouting for Collapsed {
//!     fn gate(&self, _seed: u64) -> Box<dyn ExpertGate> {
//!         Box::new(Collapsed)
//!     }
//! }
//!
//! impl ExpertGate for Collapsed {
//!     fn route(&mut self, block: &MoeBlock<'_>, loads: &mut [RankLoad]) {
//!         let expert = block.layer % block.placement.num_experts();
//!         let load = &mut loads[block.placement.rank_of(expert) as usize];
//!         *load = RankLoad { tokens: block.tokens, active_experts: 1 };
//!     }
//! }
//!
//! let mut router = ExpertRouter::new(8, 1, 2, &Collapsed, 0);
//! assert_eq!(router.route(5, 100)[1], RankLoad { tokens: 100, active_experts: 1 });
//! ```

mod counted;
mod distinct;
mod gate;
mod gates;
mod placement;
mod policy;
mod recorded;
mod router;

pub use counted::Unroutable;
pub use gate::{ExpertGate, ExpertRouting, MoeBlock, RankLoad};
pub use placement::Placement;
pub use policy::{Policy, UnknownPolicy};
pub use recorded::{MoeShape, RecordedRouting};
pub use router::ExpertRouter;
