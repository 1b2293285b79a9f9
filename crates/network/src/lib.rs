//! What bytes moved between NPUs cost in time: topologies, collectives, messages, memory.
//!
//! The arithmetic is that of ASTRA-Sim's analytical network (congestion-unaware: no link is ever shared), to the
//! nanosecond: IEEE doubles in its order of operations, cut to whole nanoseconds where it cuts them. Two clocks read
//! it:
//!
//! - A [`Plan`] answers in closed form. [`Plan::together`] is the time of a collective whose members start together,
//!   [`Plan::advance`] the time at which each leaves when they start apart. Plain simulation needs no more than that,
//!   [`Topology::message_delay`] for a message by itself, and a [`DeviceQueue`].
//! - A [`Machine`] runs every message as an event. It is slower and exists for what the closed form can't tell:
//!   *when something happens in between*, which decides when a polled scheduler is asked again, and in which order
//!   NPUs reach a memory device in one nanosecond.
//!
//! The two agree wherever both apply, and the tests hold them to it.

mod collective;
mod graph;
mod machine;
mod memory;
mod plan;
mod topology;

pub use collective::{Collective, CollectiveKind, System};
pub use graph::{Graph, Op};
pub use machine::Machine;
pub use memory::{DeviceQueue, Location, Memory, MemoryDevices, MemorySpeed};
pub use plan::Plan;
pub use topology::{DimMask, Dimension, Topology};
