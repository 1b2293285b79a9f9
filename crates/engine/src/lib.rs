//! Requests, scheduler, batches, forward passes, waves and the event loop.
//!
//! A [`Deployment`] says what is simulated: instances of models on NPUs, grouped where they step together. Requests
//! come as [`Entry`]s in order of arrival. [`Simulation`] runs them and tells an [`Observer`] what happens. Nothing in
//! here can fail: whatever could be wrong with a deployment or a workload is found before it gets here.
//!
//! A lone instance is a data-parallel group of one, so there is one way in which batches become waves and waves become
//! time.

mod arrivals;
mod batch;
mod cluster;
mod deployment;
mod entry;
mod exact;
mod forward;
mod group;
mod instance;
mod observer;
mod pass_clock;
mod polled;
mod router;
mod sequence;
mod simulation;

pub use deployment::{
    All2AllBackend, Deployment, GroupSpec, InstanceSpec, KvSpec, Polling, RequestRouting, RunOptions, SchedulerSpec,
};
pub use entry::{Call, Entry};
pub use observer::{
    FinishedRequest, GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, MemberStep, Observer,
    RunTotals, Wave,
};
pub use simulation::Simulation;
