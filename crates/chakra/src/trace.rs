//! A trace as plain data.

/// What one NPU does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// Where the trace comes from.
    pub metadata: Metadata,
    /// The nodes in the order of the file.
    pub nodes: Vec<TraceNode>,
}

/// Where a trace comes from. Nothing depends on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// A version, which no known converter writes.
    pub version: String,
    /// The version of the format.
    pub schema: Option<String>,
    /// The file the trace was made from.
    pub input_file: Option<String>,
}

impl Metadata {
    /// The version of the format that LLMServingSim's converter writes.
    pub const SCHEMA: &str = "1.0.2-chakra.0.0.4";

    /// The metadata of a trace made from `input_file`, as LLMServingSim's converter writes it.
    pub fn of(input_file: impl Into<String>) -> Self {
        Self { version: String::new(), schema: Some(Self::SCHEMA.to_owned()), input_file: Some(input_file.into()) }
    }
}

/// One operation, and what it waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceNode {
    /// Unique in a trace.
    pub id: u64,
    /// Says something to people only.
    pub name: String,
    /// What is done.
    pub kind: NodeKind,
    /// The ids of the nodes that must be done first, in the order of the file, where they may be named twice. They may
    /// stand further down.
    pub parents: Vec<u64>,
}

/// What a node does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Nothing. ASTRA-Sim passes over such a node at once.
    Invalid,
    /// Nothing: it describes the trace. ASTRA-Sim never gets past such a node.
    Metadata,
    /// Memory is read.
    Load(Tensor),
    /// Memory is written.
    Store(Tensor),
    /// A memory device computes.
    Pim {
        /// What is moved afterwards, and which device computes.
        tensor: Tensor,
        /// The device's channel that computes.
        channel: u32,
        /// How long the computation takes, in nanoseconds.
        time_ns: u64,
    },
    /// A computation. Without a time and without operations, ASTRA-Sim passes over it at once.
    Compute {
        /// How long it takes, in nanoseconds.
        time_ns: u64,
        /// Floating-point operations, or 0 where they are not known.
        num_ops: u64,
        /// Bytes it touches, or 0 where they are not known.
        tensor_bytes: u64,
        /// Whether it runs on the host's processor. Nodes of any type but the memory ones may be marked as that in a
        /// file, and are nothing but computations then.
        on_host: bool,
    },
    /// A message is sent.
    Send(Message),
    /// A message is awaited.
    Recv(Message),
    /// The NPU takes part in a collective.
    Collective(Collective),
}

/// Bytes in a memory device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// Its size.
    pub bytes: u64,
    /// Which kind of memory it is in.
    pub location: MemoryKind,
    /// The number of the device among those of its kind, from 0.
    pub device: u32,
}

/// Which memory a tensor is in. A file may also say 0 (none) and 4 (storage), which nothing simulates; in MLCommons'
/// numbering it may say nothing, and the host's is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryKind {
    /// The NPU's own, 1 in a file (LOCAL).
    Npu = 1,
    /// The host's, 2 in a file (REMOTE).
    Host = 2,
    /// A memory pool, 3 in a file (CXL).
    Pool = 3,
}

/// A message between two NPUs, as seen by either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// The sender. Where a sender's file leaves it out, the NPU of the file.
    pub from: u32,
    /// The receiver. Where a receiver's file leaves it out, the NPU of the file.
    pub to: u32,
    /// Its size, at least 1.
    pub bytes: u64,
    /// What sets it apart from others of its size between the same two, 0 where the file leaves it out.
    pub tag: u32,
    /// The collective that a converter thought of, without effect.
    pub comm_type: Option<CollectiveType>,
}

/// An NPU's part in a collective.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collective {
    /// Which collective.
    pub kind: CollectiveType,
    /// Its size; 0 for a barrier that has none.
    pub bytes: u64,
    /// For each dimension of the topology, innermost first, whether it takes part; all of them do where this is `None`.
    pub involved: Option<Vec<bool>>,
    /// Its priority over other collectives, 0 where the file leaves it out.
    pub priority: i32,
    /// The process group by name.
    pub group: Option<String>,
    /// How long it took where the trace was recorded, in nanoseconds. ASTRA-Sim takes a broadcast's from here.
    pub time_ns: u64,
}

/// The kinds of collective, with their numbers in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CollectiveType {
    AllReduce = 0,
    Reduce = 1,
    AllGather = 2,
    Gather = 3,
    Scatter = 4,
    Broadcast = 5,
    AllToAll = 6,
    ReduceScatter = 7,
    ReduceScatterBlock = 8,
    Barrier = 9,
}

impl CollectiveType {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 10] = [
        Self::AllReduce,
        Self::Reduce,
        Self::AllGather,
        Self::Gather,
        Self::Scatter,
        Self::Broadcast,
        Self::AllToAll,
        Self::ReduceScatter,
        Self::ReduceScatterBlock,
        Self::Barrier,
    ];
}
