//! What the files amount to.

use network::{Fabric, NetworkModel};

/// What graphs are replayed on.
#[derive(Clone, Debug, PartialEq)]
pub struct Setup {
    /// NPUs and links, how collectives are run, and memory. Where there is no host memory, it has 0 devices.
    pub fabric: Fabric,
    /// Which memories compute.
    pub pim_channels: PimChannels,
    /// What an NPU computes at most, in TFLOP/s (10^12), above 0, if computation goes by a [`Roofline`].
    pub peak_tflops: Option<f64>,
}

impl Setup {
    /// The roofline that computation goes by, if it does. Its memory is the one that reductions go through.
    pub fn roofline(&self) -> Option<Roofline> {
        let bandwidth_bytes_per_s = self.fabric.system.local_memory_gb_per_s * 1e9;
        self.peak_tflops.map(|peak| Roofline { bandwidth_bytes_per_s, peak_flop_per_s: peak * 1e12 })
    }
}

/// How many channels of processing in memory each device of a memory has; 0 where it does not compute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PimChannels {
    /// Channels of a device of host memory.
    pub host: u32,
    /// Channels of a device of the pool.
    pub pool: u32,
}

/// What bounds the pace of computation.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Roofline {
    /// Bandwidth of an NPU's own memory in bytes/s.
    pub bandwidth_bytes_per_s: f64,
    /// What an NPU computes at most, in FLOP/s.
    pub peak_flop_per_s: f64,
}

/// What ASTRA-Sim takes on its command line, or has in the choice of its binary.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Whether messages slow each other down.
    pub network_model: NetworkModel,
    /// What `endpoint-delay` is multiplied by, where a file gives one; from 0 to 10^3.
    pub injection_scale: f64,
    /// Queues that the chunks of a dimension are spread over, at least 1.
    pub queues_per_dim: u32,
    /// Whether each message waits for a token of its receiver.
    pub has_rendezvous: bool,
}

impl Options {
    pub(crate) fn assert_sound(&self) {
        assert!((0.0..=1e3).contains(&self.injection_scale), "an injection scale of {}", self.injection_scale);
        assert!(self.queues_per_dim > 0, "no queue");
    }
}

impl Default for Options {
    /// Links that are never shared, delays as they stand, one queue, no rendezvous: what ASTRA-Sim defaults to.
    fn default() -> Self {
        let network_model = NetworkModel::default();
        Self { network_model, injection_scale: 1.0, queues_per_dim: 1, has_rendezvous: false }
    }
}
