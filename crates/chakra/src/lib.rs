//! Chakra execution traces: what each NPU does in a run, as files that simulators and profilers exchange.
//!
//! A trace is a graph of operations of one NPU: computations, memory accesses, messages and collectives, each with the
//! nodes it waits for. A run is a set of traces, one file an NPU, `<prefix>.<npu>.et`. A file is a sequence of protobuf
//! messages, each behind its length as a varint: the metadata, then the nodes in any order.
//!
//! What a node is stands in its type, a number, and its named attributes. There are two numberings of the types, and
//! nothing in a file says which is meant; [`Numbering`] tells how they are told apart. Attributes that mean nothing here
//! are skipped, and so are recorded start times, operands and control dependencies.
//!
//! This crate holds the traces as plain data and vouches for their form: ids are unique in a file, parents are there and
//! wait for nobody in a circle, every node has the attributes of its kind, and sizes are sizes. Whether the sets of two
//! NPUs fit one another (each message sent is received, each collective is joined) is for those to see who run them.

mod attributes;
mod encode;
mod faults;
mod frames;
mod graph;
mod nodes;
mod numbering;
mod set;
mod trace;
mod wire;

pub use encode::encode;
pub use numbering::Numbering;
pub use set::{File, TraceSet, decode, file_path, read_set};
pub use trace::{Collective, CollectiveType, MemoryKind, Message, Metadata, NodeKind, Tensor, Trace, TraceNode};
