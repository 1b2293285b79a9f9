//! Requests, scheduler, batches, forward passes, waves and the event loop.
//!
//! A [`Deployment`] says what is simulated: instances of models on NPUs, grouped where they step together. Requests
//! come as [`Entry`]s in order of arrival. [`Simulation`] runs them and tells an [`Observer`] what happens. Nothing in
//! here can fail: whatever could be wrong with a deployment or a workload is found before it gets here.
//!
//! A lone instance is a data-parallel group of one, so there is one way in which batches become waves and waves become
//! time.

mod activity;
mod arrivals;
mod batch;
mod cluster;
mod coordinator;
mod decoding;
mod deployment;
mod detailed;
mod details;
mod entry;
mod events;
mod exact;
mod forward;
mod graphs;
mod group;
mod instance;
mod interleaved;
mod labels;
mod layer_times;
mod min_tree;
mod npus;
mod observer;
mod pass_clock;
mod pim;
mod polled;
mod power;
mod preview;
mod router;
mod sequence;
mod simulation;
mod staged;
mod tokens;
mod vllm;

pub use moe::ExpertRouting;

pub use activity::{Activity, Doing, LoadChange, Moved, NpuPart, RequestEvent, RequestMoment};
pub use deployment::{
    All2AllBackend, Deployment, Engine, GroupSpec, InstanceSpec, KvSpec, PimSpec, Placement, Polling, RequestRouting,
    Role, RunOptions, SchedulerSpec, TierSpec,
};
pub use details::{StepDetails, StepParts};
pub use entry::{Call, Entry};
pub use graphs::stage_blocks;
pub use labels::{Label, LabelledGraph, MemberGraphs, Part, Stem, WaveGraphs};
pub use observer::{
    FinishedRequest, GroupInterval, GroupTotals, InstanceTotals, Interval, MemberInterval, MemberStep, Observer,
    RunTotals, Stamps, StepWork, Wave,
};
pub use power::{CpuPower, DramPower, NodePower, NpuPower};
pub use preview::{LanePreview, StepOp, StepPiece, StepPreview, preview};
pub use router::{InstanceLoad, RequestRouter, RoutedRequest, RoutingTable};
pub use simulation::{Simulation, Stuck};
pub use tokens::{StepLog, TokenLatencies, TokenRun};
pub use vllm::{CaptureSizes, HostTimes, Kernels, Vllm};
