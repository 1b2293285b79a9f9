//! Traces as graphs that can be run.
//!
//! Nodes are numbered in the order of their ids, which is the order in which ASTRA-Sim tries them. Without a roofline a
//! computation takes as long as its node says, or a nanosecond where it only tells operations; with one, as long as its
//! operations take at `min(peak, bandwidth · operations / bytes)`. A broadcast takes as long as its node says. Nodes that
//! only describe the trace, which ASTRA-Sim never gets past, and invalid ones are passed over.

use std::collections::HashMap;
use std::path::Path;
use std::rc::Rc;

use chakra::{CollectiveType, MemoryKind, NodeKind, Tensor, Trace, TraceNode, TraceSet, file_path};
use diagnostics::{Fault, Faults};
use network::{Collective, CollectiveKind, DimMask, Graph, Impossible, Location, Op, Plan};
use units::Duration;

use crate::{Roofline, Setup};

/// Longer than this, and the clock might run over.
const LONGEST_NS: f64 = 4e18;

/// Faults that are told one by one.
const FAULTS_MAX: usize = 20;

/// The graph of one NPU, and what its nodes were.
#[derive(Clone, Debug)]
pub struct TraceGraph {
    /// What the NPU runs.
    pub graph: Rc<Graph>,
    /// By node, where it stands in the trace.
    pub nodes: Vec<usize>,
}

/// The graphs of a set of traces, by NPU, on `setup`. `prefix` is what faults call the files.
///
/// # Errors
/// Messages to NPUs that are not there, memory that is not there, collectives that nobody simulates or that don't say
/// what they do in each dimension, and runs that could take longer than 126 years.
pub fn graphs(set: &TraceSet, setup: &Setup, prefix: &Path) -> Result<Vec<TraceGraph>, Faults> {
    let mut builder = Builder {
        setup,
        roofline: setup.roofline(),
        collectives_ns: HashMap::new(),
        faults: Vec::new(),
        longest_ns: 0.0,
        prefix,
        npu: 0,
    };
    let mut graphs = Vec::with_capacity(set.traces.len());
    for (trace, npu) in set.traces.iter().zip(0..) {
        builder.npu = npu;
        graphs.push(builder.graph(trace));
    }
    let mut faults = Faults::new();
    if builder.longest_ns > LONGEST_NS && builder.faults.is_empty() {
        let fault = Fault::new(prefix.display().to_string(), "running these traces could take longer than 126 years");
        faults.push(fault.hint("durations are in nanoseconds, sizes in bytes"));
    }
    let more = builder.faults.len().saturating_sub(FAULTS_MAX);
    builder.faults.into_iter().take(FAULTS_MAX).for_each(|fault| faults.push(fault));
    if more > 0 {
        faults.push(Fault::new(prefix.display().to_string(), format!("{more} more nodes can't be run")));
    }
    faults.into_result(graphs)
}

struct Builder<'a> {
    setup: &'a Setup,
    roofline: Option<Roofline>,
    /// How long collectives take at the most, all members together.
    collectives_ns: HashMap<Collective, Result<f64, Impossible>>,
    faults: Vec<Fault>,
    /// How long all that was seen takes one after the other.
    longest_ns: f64,
    prefix: &'a Path,
    npu: u32,
}

impl Builder<'_> {
    fn graph(&mut self, trace: &Trace) -> TraceGraph {
        let mut nodes: Vec<usize> = (0..trace.nodes.len()).collect();
        nodes.sort_by_key(|&place| trace.nodes[place].id);
        let number_of = |id: u64| {
            let number = nodes.binary_search_by_key(&id, |&place| trace.nodes[place].id);
            number.expect("a trace has the parents of its nodes") as u32
        };
        let mut graph = Graph::with_capacity(nodes.len());
        for &place in &nodes {
            let op = self.op(&trace.nodes[place]);
            graph.push(op, &[]);
        }
        for (&place, number) in nodes.iter().zip(0..) {
            let mut parents: Vec<u32> = trace.nodes[place].parents.iter().map(|&id| number_of(id)).collect();
            // One that is named twice is waited for once.
            parents.sort_unstable();
            parents.dedup();
            parents.into_iter().for_each(|parent| graph.connect(parent, number));
        }
        TraceGraph { graph: Rc::new(graph), nodes }
    }

    fn op(&mut self, node: &TraceNode) -> Op {
        let op = match &node.kind {
            NodeKind::Invalid | NodeKind::Metadata => Op::HostCompute(Duration::ZERO),
            NodeKind::Load(tensor) | NodeKind::Store(tensor) => self.access(node, tensor),
            NodeKind::Pim { tensor, channel, time_ns } => self.pim(node, tensor, *channel, *time_ns),
            &NodeKind::Compute { time_ns, num_ops, tensor_bytes, on_host } => {
                let time = self.compute_time(time_ns, num_ops, tensor_bytes);
                if on_host { Op::HostCompute(time) } else { Op::Compute(time) }
            }
            NodeKind::Send(message) => {
                self.check_rank(node, "comm_dst", message.to);
                self.check_message(message.to, message.bytes);
                Op::Send { to: message.to, bytes: message.bytes, tag: message.tag }
            }
            NodeKind::Recv(message) => {
                self.check_rank(node, "comm_src", message.from);
                Op::Recv { from: message.from, bytes: message.bytes, tag: message.tag }
            }
            NodeKind::Collective(collective) => self.collective(node, collective),
        };
        self.longest_ns += match op {
            Op::Compute(time) | Op::HostCompute(time) | Op::Broadcast(time) => time.ns() as f64,
            Op::Pim { location, time, bytes, .. } => time.ns() as f64 + self.access_ns(location, bytes),
            Op::Memory { location, bytes } => self.access_ns(location, bytes),
            // Counted where they are checked.
            Op::Send { .. } | Op::Recv { .. } | Op::Collective(_) => 0.0,
        };
        op
    }

    fn access_ns(&self, location: Location, bytes: u64) -> f64 {
        let memory = &self.setup.fabric.memory;
        let speed = match location {
            Location::Host(_) => Some(memory.host.speed()),
            Location::Pool(_) => memory.pool.map(|pool| pool.speed()),
            Location::Npu => memory.npu,
        };
        speed.map_or(0.0, |speed| speed.latency().ns() as f64 + bytes as f64 / speed.bandwidth_gb_per_s() as f64)
    }

    fn compute_time(&self, time_ns: u64, num_ops: u64, tensor_bytes: u64) -> Duration {
        let ns = match &self.roofline {
            _ if time_ns == 0 && num_ops == 0 => 0,
            Some(roofline) => roofline_ns(*roofline, num_ops, tensor_bytes),
            None => time_ns.max(1),
        };
        Duration::from_ns(ns)
    }

    fn fault(&mut self, node: &TraceNode, attribute: &str, message: String) -> &mut Fault {
        let path = format!("node {}, {attribute}", node.id);
        let source = file_path(self.prefix, self.npu).display().to_string();
        self.faults.push(Fault::new(source, message).path(path));
        let last = self.faults.len() - 1;
        &mut self.faults[last]
    }

    fn check_rank(&mut self, node: &TraceNode, attribute: &str, rank: u32) {
        let num_npus = self.setup.fabric.topology.num_npus();
        if rank as usize >= num_npus {
            self.fault(node, attribute, format!("is NPU {rank}, and the network has {num_npus}"));
        } else if rank == self.npu {
            self.fault(node, attribute, "is the NPU of the file (ASTRA-Sim aborts)".to_owned());
        }
    }

    fn check_message(&mut self, to: u32, bytes: u64) {
        let topology = &self.setup.fabric.topology;
        if (to as usize) < topology.num_npus() && to != self.npu {
            // Every dimension may be crossed, with all hops of it.
            let crossing = topology
                .dims()
                .iter()
                .map(|dim| f64::from(dim.npus) * (dim.latency_ns + bytes as f64 / dim.bandwidth_gib_per_s));
            self.longest_ns += 2.0 * crossing.sum::<f64>();
        }
    }

    fn location(&mut self, node: &TraceNode, tensor: &Tensor) -> Option<Location> {
        let memory = &self.setup.fabric.memory;
        let (location, num_devices, name) = match tensor.location {
            MemoryKind::Npu => (Location::Npu, u32::from(memory.npu.is_some()), "local_mem"),
            MemoryKind::Host => (Location::Host(tensor.device), memory.host.num_devices(), "remote_mem"),
            MemoryKind::Pool => {
                (Location::Pool(tensor.device), memory.pool.map_or(0, |pool| pool.num_devices()), "cxl_mem")
            }
        };
        if num_devices == 0 {
            let fault = self.fault(node, "tensor_loc", format!("there is no `{name}`"));
            *fault = fault.clone().hint(format!("describe `{name}` in the memory file"));
            return None;
        }
        let is_private = match location {
            Location::Npu => true,
            Location::Host(_) => memory.host.is_private(),
            Location::Pool(_) => memory.pool.is_some_and(|pool| pool.is_private()),
        };
        if !is_private && tensor.device >= num_devices {
            let message = format!("is {}, and `{name}` has {num_devices} devices", tensor.device);
            self.fault(node, "tensor_device", message);
            return None;
        }
        // Where each NPU has its own, which device is named doesn't matter.
        Some(match location {
            Location::Host(_) if is_private => Location::Host(0),
            Location::Pool(_) if is_private => Location::Pool(0),
            _ => location,
        })
    }

    fn access(&mut self, node: &TraceNode, tensor: &Tensor) -> Op {
        match self.location(node, tensor) {
            Some(location) => Op::Memory { location, bytes: tensor.bytes },
            None => Op::Compute(Duration::ZERO),
        }
    }

    fn pim(&mut self, node: &TraceNode, tensor: &Tensor, channel: u32, time_ns: u64) -> Op {
        let Some(location) = self.location(node, tensor) else { return Op::Compute(Duration::ZERO) };
        let num_channels = match location {
            Location::Host(_) => self.setup.pim_channels.host,
            Location::Pool(_) => self.setup.pim_channels.pool,
            Location::Npu => 0,
        };
        if num_channels == 0 {
            let fault =
                self.fault(node, "type", "computes in a memory without PIM channels (ASTRA-Sim exits)".to_owned());
            *fault = fault.clone().hint("give that memory `pim-channels` in the memory file");
        } else if channel >= num_channels {
            self.fault(node, "tensor_channel", format!("is {channel}, and a device has {num_channels} channels"));
        }
        Op::Pim { location, channel, time: Duration::from_ns(time_ns), bytes: tensor.bytes }
    }

    fn collective(&mut self, node: &TraceNode, collective: &chakra::Collective) -> Op {
        let kind = match collective.kind {
            CollectiveType::AllReduce => CollectiveKind::AllReduce,
            CollectiveType::AllGather => CollectiveKind::AllGather,
            CollectiveType::ReduceScatter => CollectiveKind::ReduceScatter,
            CollectiveType::AllToAll => CollectiveKind::AllToAll,
            CollectiveType::Broadcast => return Op::Broadcast(Duration::from_ns(collective.time_ns.max(1))),
            other => {
                let message = format!("{other:?} is not simulated (ASTRA-Sim never completes it)");
                let fault = self.fault(node, "comm_type", message);
                *fault = fault.clone().hint("all-reduce, all-gather, reduce-scatter, all-to-all and broadcast are");
                return Op::Compute(Duration::ZERO);
            }
        };
        let num_dims = self.setup.fabric.topology.dims().len();
        let dims = match &collective.involved {
            None => DimMask::ALL,
            Some(involved) if involved.len() < num_dims => {
                let message = format!("has {} values for {num_dims} dimensions", involved.len());
                self.fault(node, "involved_dim", message);
                DimMask::ALL
            }
            Some(involved) => DimMask::new(&involved[..num_dims]),
        };
        let collective = Collective { kind, bytes: collective.bytes, dims };
        let fabric = &self.setup.fabric;
        let plan = self.collectives_ns.entry(collective).or_insert_with(|| {
            let plan = Plan::new(&fabric.topology, &fabric.system, collective);
            plan.map(|plan| plan.longest_ns())
        });
        match *plan {
            // Each member counts its own part.
            Ok(all_ns) => self.longest_ns += all_ns / fabric.topology.num_npus() as f64,
            // It will be found when it is run.
            Err(why) if why.never_ends() => {}
            Err(why) => {
                self.fault(node, "comm_type", why.to_string());
            }
        }
        Op::Collective(collective)
    }
}

/// `ops / min(peak, bandwidth · ops / bytes)`, cut to whole nanoseconds.
fn roofline_ns(roofline: Roofline, num_ops: u64, tensor_bytes: u64) -> u64 {
    let num_ops = num_ops as f64;
    let intensity = num_ops / tensor_bytes as f64;
    let flop_per_s = (roofline.bandwidth_bytes_per_s * intensity).min(roofline.peak_flop_per_s);
    (num_ops / flop_per_s * 1e9) as u64
}
