//! Dense ids: each counts from 0 within one deployment, and one kind can't stand in for another.

use std::fmt;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident($int:ty)),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $int);

        impl $name {
            /// The id as an index into a dense table.
            pub const fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl From<usize> for $name {
            fn from(index: usize) -> Self {
                Self(<$int>::try_from(index).expect("an id out of its range"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

ids! {
    /// A server: the instances on it share its host memory.
    NodeId(u32),
    /// One copy of a model with its own scheduler and KV cache.
    InstanceId(u32),
    /// A data-parallel group: instances that step in waves. A lone instance is a group of one.
    GroupId(u32),
    /// One accelerator. Ids run instance by instance.
    NpuId(u32),
    /// One request, numbered in the order of the workload file; the calls of a session count one by one.
    RequestId(u64),
}
