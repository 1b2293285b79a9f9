//! What bytes moved between NPUs cost in time: topologies, collectives, messages, memory.
//!
//! This is what ASTRA-Sim's analytical backends simulate, to the nanosecond: IEEE doubles in its order of operations, cut
//! to whole nanoseconds where it cuts them. Links are never shared, or one message at a time ([`NetworkModel`]). Two
//! clocks read it:
//!
//! - A [`Plan`] answers in closed form: [`Plan::advance`] is the time at which each member leaves a collective, from when
//!   each enters. Plain simulation needs no more than that, [`Topology::message_delay`] for a message by itself, and a
//!   [`DeviceQueue`].
//! - A [`Machine`] runs every message as an event. It is slower and exists for what the closed form can't tell:
//!   messages that compete for links, chunks that overlap, *when something happens in between*, which decides when a
//!   polled scheduler is asked again, and in which order NPUs reach a memory device in one nanosecond.
//!
//! The two agree wherever both apply, and the tests hold them to it. [`replay`] runs a set of graphs to the end by
//! whichever of the two does.

mod collective;
mod graph;
mod machine;
mod measured;
mod memory;
mod plan;
mod replay;
mod topology;

pub use collective::{Algorithm, Algorithms, Collective, CollectiveKind, NetworkModel, Optimization, System};
pub use graph::{Graph, Op};
pub use machine::{Machine, NodeMoment, NodeRecord, Reason, Waiting};
pub use measured::{Curve, Measured};
pub use memory::{DeviceQueue, Location, Memory, MemoryDevices, MemorySpeed};
pub use plan::{Impossible, Plan};
pub use replay::{Fabric, Outcome, Schedule, replay};
pub use topology::{Block, DimMask, Dimension, Topology};
