//! Processing in memory (PIM): attention of decodes in the channels of host memory.
//!
//! A memory type is described by the parameters of its DRAM, as DRAM simulators have them. From those follow the
//! capacity and bandwidth of one channel, and how many channels make up a node's memory; the latency of an access is
//! that of a column read, `CL · tCK`. Bandwidth and latency found so take the place of those in the cluster file.
//!
//! How long attention takes in a channel was measured for each type on Llama-3.1-8B (32 heads, 8 KV heads, head size
//! 128); for other models the time of a KV token scales with the query heads for each KV head, and the fixed time with
//! `heads × head size` (behaviour contract, section 13).

use std::path::Path;

use documents::json::Placed;
use documents::{Document, suggest};
use engine::PimSpec;
use model::Model;

use crate::cluster::{BANDWIDTH, CpuMemory, LATENCY};
use crate::dram::Dram;
use crate::report::Report;

/// Most channels of one node, far above any machine.
const MOST_CHANNELS: f64 = 65_536.0;

/// A type of memory that can compute.
struct MemoryType {
    name: &'static str,
    dram: Dram,
    /// Attention on the model it was measured with: ns for each token of KV, and whatever the KV.
    ns_per_token: f64,
    fixed_ns: f64,
}

/// What all types of low-power DRAM have in common here.
const LPDDR: Dram = Dram {
    bankgroups: 4.0,
    banks_per_group: 4.0,
    rows: 65_536.0,
    columns: 1024.0,
    device_bits: 16.0,
    bus_bits: 16.0,
    channel_mib: 2048.0,
    megatransfers_per_s: 4266.0,
    column_clocks: 36.0,
    clock_ns: 0.468,
    idle_mw: 70.0,
    peak_mw: 771.0,
};

const MEMORY_TYPES: [MemoryType; 4] = [
    MemoryType { name: "LPDDR4X_2GB_4266_pim", dram: LPDDR, ns_per_token: 432.4458, fixed_ns: 33918.1734 },
    MemoryType {
        name: "DDR4_8GB_3200_pim",
        dram: Dram {
            bankgroups: 2.0,
            bus_bits: 64.0,
            channel_mib: 8192.0,
            megatransfers_per_s: 3200.0,
            column_clocks: 22.0,
            clock_ns: 0.63,
            idle_mw: 623.0,
            peak_mw: 3803.0,
            ..LPDDR
        },
        ns_per_token: 333.2538,
        fixed_ns: 30675.2739,
    },
    MemoryType {
        name: "LPDDR5_2GB_6400_pim",
        dram: Dram {
            megatransfers_per_s: 6400.0,
            column_clocks: 34.0,
            clock_ns: 0.3125,
            idle_mw: 71.0,
            peak_mw: 877.0,
            ..LPDDR
        },
        ns_per_token: 282.4338,
        fixed_ns: 15996.7018,
    },
    MemoryType {
        name: "HBM2_1GB_2000_pim",
        dram: Dram {
            rows: 32_768.0,
            columns: 64.0,
            device_bits: 128.0,
            bus_bits: 128.0,
            channel_mib: 1024.0,
            megatransfers_per_s: 2000.0,
            column_clocks: 14.0,
            clock_ns: 1.0,
            idle_mw: 160.0,
            peak_mw: 760.0,
            ..LPDDR
        },
        ns_per_token: 242.0548,
        fixed_ns: 14513.5015,
    },
];

/// The memory of one node, where it computes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PimMemory {
    /// Channels.
    pub(crate) num_channels: u32,
    /// GiB of one channel.
    pub(crate) channel_gib: f64,
    /// Bandwidth of all channels in GB/s.
    pub(crate) bandwidth_gb_per_s: f64,
    /// Latency of an access in ns.
    pub(crate) latency_ns: f64,
    /// W of one channel at rest.
    pub(crate) idle_w: f64,
    /// W of one channel at work.
    pub(crate) active_w: f64,
    ns_per_token: f64,
    fixed_ns: f64,
}

impl PimMemory {
    /// `memory` as the type `name` makes it, with the parameters in `folder` or the built-in ones.
    pub(crate) fn read(
        memory: &CpuMemory,
        name: &Placed<String>,
        folder: Option<&Path>,
        report: &mut Report,
    ) -> Option<Self> {
        let Some(known) = MEMORY_TYPES.iter().find(|known| known.name == name.value) else {
            let names: Vec<_> = MEMORY_TYPES.iter().map(|known| known.name).collect();
            let fault = name.place.fault(format!("no attention times are known for the memory type `{}`", name.value));
            report.push(fault.hint(suggest::hint(&name.value, &names)));
            return None;
        };
        let file = folder.map(|folder| folder.join(format!("{}.ini", name.value))).filter(|file| file.exists());
        let dram = match file {
            Some(file) => {
                let document = report.take(Document::read(&file))?;
                report.take(Dram::parse(&document))?
            }
            None => known.dram,
        };
        let size_gib = memory.size_gib.value;
        let pim = Self::of(known, &dram, size_gib);
        if let Some(what) = pim.impossibility(size_gib) {
            report.push(memory.size_gib.place.fault(format!("{size_gib} GiB of `{}` make {what}", name.value)));
            return None;
        }
        Some(pim)
    }

    /// What no arithmetic here is meant for.
    fn impossibility(&self, size_gib: f64) -> Option<String> {
        let channels = (size_gib / self.channel_gib).floor();
        if !(1.0..=MOST_CHANNELS).contains(&channels) {
            return Some(format!("{channels} channels of {} GiB; 1 to {MOST_CHANNELS} can be", self.channel_gib));
        }
        let (bandwidth, latency) = (self.bandwidth_gb_per_s, self.latency_ns);
        let is_sound = BANDWIDTH.contain(bandwidth) && LATENCY.contain(latency);
        (!is_sound).then(|| format!("a memory of {bandwidth} GB/s and {latency} ns, beyond what can be simulated"))
    }

    /// A memory of `size_gib` with these DRAM parameters. The order of operations is LLMServingSim's, so that results
    /// are the same to the last bit.
    fn of(known: &MemoryType, dram: &Dram, size_gib: f64) -> Self {
        let devices_per_rank = dram.bus_bits / dram.device_bits;
        let page_bytes = dram.columns * dram.device_bits / 8.0;
        let bank_mib = page_bytes * (dram.rows / 1024.0) / 1024.0;
        let rank_mib = bank_mib * (dram.bankgroups * dram.banks_per_group) * devices_per_rank;
        let ranks = if rank_mib > dram.channel_mib { 1.0 } else { dram.channel_mib / rank_mib };
        let channel_gib = ranks * rank_mib / 1024.0;
        let channel_gb_per_s = dram.bus_bits / 8.0 * dram.megatransfers_per_s / 1000.0;
        Self {
            num_channels: (size_gib / channel_gib).floor() as u32,
            channel_gib,
            bandwidth_gb_per_s: size_gib / channel_gib * channel_gb_per_s,
            latency_ns: dram.column_clocks * dram.clock_ns,
            idle_w: dram.idle_mw / 1000.0,
            active_w: dram.peak_mw / 1000.0,
            ns_per_token: known.ns_per_token,
            fixed_ns: known.fixed_ns,
        }
    }

    /// Attention of `model` in this memory.
    pub(crate) fn spec(&self, model: &Model, interleaves_sub_batches: bool) -> PimSpec {
        let (heads, kv_heads) = (model.num_attention_heads, model.num_key_value_heads);
        let grouping = (heads as f64 / kv_heads as f64) / (32.0 / 8.0);
        let width = model.q_width() as f64 / (32.0 * 128.0);
        PimSpec {
            num_channels: self.num_channels,
            channel_split: u64::from(self.num_channels).min(kv_heads) as u32,
            ns_per_token: self.ns_per_token * grouping,
            fixed_ns: self.fixed_ns * width,
            interleaves_sub_batches,
        }
    }
}
