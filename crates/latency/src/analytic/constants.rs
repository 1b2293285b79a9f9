//! The constants of one GPU: what a fit finds, what ships, and the file they travel in.

use std::fmt;

use diagnostics::{Fault, Faults, Position};
use serde::{Deserialize, Serialize};

/// Declares a section of constants, and its view as a list of numbers for the fit.
macro_rules! section {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_doc])* pub $field: f64,)+
        }

        impl $name {
            /// The constants in the order of their declaration.
            pub(crate) fn values(&self) -> Vec<f64> {
                vec![$(self.$field),+]
            }

            /// The section whose [`values`](Self::values) are these.
            pub(crate) fn from_values(values: &[f64]) -> Self {
                let mut values = values.iter().copied();
                let section = Self { $($field: values.next().expect("a value for every constant"),)+ };
                assert!(values.next().is_none(), "more values than constants");
                section
            }

            /// Their names.
            pub(crate) fn names() -> &'static [&'static str] {
                &[$(stringify!($field)),+]
            }
        }
    };
}

section! {
    /// Matrix products with weights: projections, the dense feed-forward layers, the head.
    GemmConstants {
        /// Time of a product that does nothing, in ns.
        launch_ns,
        /// Bandwidth at which weights are read, in 10^9 bytes/s.
        bandwidth_gbps,
        /// Rate of all SMs on full 128 × 128 tiles of 16-bit elements, in 10^12 FLOP/s.
        compute_tflops,
        /// Rate of 64-row or 64-column tiles, as a share of that of full ones.
        small_tile_share,
        /// Rate when work is cut along the inner dimension so that no SM idles, as a share of that of full tiles.
        stream_share,
        /// How often an activation is moved, counted in times of its own size.
        activation_reads,
        /// Exponent of the norm that joins compute and memory time: large when they overlap perfectly.
        overlap,
    }
}

section! {
    /// Norms, rotary embedding, activation, embedding and sampler: bytes moved, hardly any arithmetic.
    ElementwiseConstants {
        /// Time of a kernel that does nothing, in ns.
        launch_ns,
        /// The same where it looks up rows of a table, in ns.
        gather_launch_ns,
        /// Time one thread block takes per byte of its row, in ns: the floor while every row has an SM for itself.
        row_latency_ns_per_byte,
        /// Time per row beside its bytes, over all SMs, in ns.
        row_ns,
        /// Bandwidth while the data stays in the L2 cache, in 10^9 bytes/s.
        cache_bandwidth_gbps,
        /// Bandwidth beyond that, in 10^9 bytes/s.
        bandwidth_gbps,
        /// Bytes that stay in the L2 cache.
        cache_bytes,
    }
}

section! {
    /// Attention.
    AttentionConstants {
        /// Time of an attention kernel that does nothing, and of writing the step's KV, in ns.
        launch_ns,
        /// Regrouping queries by KV head and back, in steps that only decode more than one sequence, in ns.
        regroup_ns,
        /// Joining the parts of sequences that were split, in ns.
        combine_ns,
        /// Start and end of one thread block, in ns.
        tile_ns,
        /// One thread block on one KV block of 128 tokens, in ns.
        kv_block_ns,
        /// The same when the step only decodes, in ns.
        decode_kv_block_ns,
        /// A thread block that finds nothing to do, over all SMs, in ns.
        empty_tile_ns,
        /// Bandwidth at which KV is read, in 10^9 bytes/s.
        bandwidth_gbps,
        /// Bytes of KV that stay in the L2 cache.
        cache_bytes,
        /// Exponent of the norm that joins compute and memory time in steps that only decode.
        decode_overlap,
        /// The same in steps with a prefill.
        prefill_overlap,
        /// Share of the other work that is done before the longest thread blocks start.
        tail_share,
    }
}

section! {
    /// The gate and the experts behind it.
    ExpertConstants {
        /// Gate, routing and the kernels around the experts, for one token, in ns.
        launch_ns,
        /// Bandwidth at which expert weights are read, in 10^9 bytes/s.
        bandwidth_gbps,
        /// Rate of the grouped products, as a share of [`GemmConstants::compute_tflops`].
        compute_share,
        /// Expert weights that stay in the L2 cache from one step to the next, in bytes.
        cache_bytes,
        /// Exponent of the norm that joins compute and memory time.
        overlap,
    }
}

/// What the analytic model knows about one type of GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuConstants {
    /// The name it goes by in cluster files, such as `RTX4090`.
    pub hardware: String,
    /// Streaming multiprocessors: how many thread blocks run at once. A fact about the GPU, not fitted.
    pub num_sms: u64,
    /// Matrix products with weights.
    pub gemm: GemmConstants,
    /// Kernels that move bytes.
    pub elementwise: ElementwiseConstants,
    /// Attention.
    pub attention: AttentionConstants,
    /// Gate and experts.
    pub experts: ExpertConstants,
}

/// Streaming multiprocessors of GPUs by the names cluster files use, from NVIDIA's data sheets.
const SMS: &[(&str, u64)] = &[
    ("A100", 108),
    ("A6000", 84),
    ("B200", 148),
    ("H100", 132),
    ("H200", 132),
    ("L4", 58),
    ("L40S", 142),
    ("RTX3090", 82),
    ("RTX4090", 128),
    ("RTX5090", 170),
    ("RTXPRO6000", 188),
];

/// The constants that ship with the simulator, fitted to measurements of three models and of one.
const SHIPPED: &[&str] = &[include_str!("rtxpro6000.json"), include_str!("rtx4090.json")];

impl GpuConstants {
    /// The constants that ship for `hardware`, if any do.
    pub fn shipped(hardware: &str) -> Option<Self> {
        Self::all_shipped().find(|constants| constants.hardware == hardware)
    }

    /// Every set of constants that ships.
    pub fn all_shipped() -> impl Iterator<Item = Self> {
        SHIPPED.iter().map(|text| Self::parse("shipped constants", text).expect("shipped constants are well-formed"))
    }

    /// What a GPU of the 2020s with `num_sms` multiprocessors has, roughly: where a fit begins.
    pub(crate) fn typical(hardware: &str, num_sms: u64) -> Self {
        Self {
            hardware: hardware.to_owned(),
            num_sms,
            gemm: GemmConstants {
                launch_ns: 2000.0,
                bandwidth_gbps: 1200.0,
                compute_tflops: 2.0 * num_sms as f64,
                small_tile_share: 0.9,
                stream_share: 0.7,
                activation_reads: 4.0,
                overlap: 3.0,
            },
            elementwise: ElementwiseConstants {
                launch_ns: 2000.0,
                gather_launch_ns: 2500.0,
                row_latency_ns_per_byte: 0.03,
                row_ns: 0.2,
                cache_bandwidth_gbps: 3500.0,
                bandwidth_gbps: 1200.0,
                cache_bytes: 5e7,
            },
            attention: AttentionConstants {
                launch_ns: 4000.0,
                regroup_ns: 4500.0,
                combine_ns: 2000.0,
                tile_ns: 1300.0,
                kv_block_ns: 3200.0,
                decode_kv_block_ns: 2000.0,
                empty_tile_ns: 2.0,
                bandwidth_gbps: 1200.0,
                cache_bytes: 7e7,
                decode_overlap: 2.0,
                prefill_overlap: 2.5,
                tail_share: 1.0,
            },
            experts: ExpertConstants {
                launch_ns: 20_000.0,
                bandwidth_gbps: 1200.0,
                compute_share: 0.6,
                cache_bytes: 7e7,
                overlap: 1.7,
            },
        }
    }

    /// Streaming multiprocessors of `hardware`, when its name is a known one.
    pub fn known_sms(hardware: &str) -> Option<u64> {
        SMS.iter().find(|(name, _)| *name == hardware).map(|&(_, num_sms)| num_sms)
    }

    /// Reads the JSON that [`Display`](fmt::Display) writes. `source` names the file in faults.
    ///
    /// # Errors
    /// When the text is not such JSON, a constant is not a positive finite number, or a share is above 1.
    pub fn parse(source: &str, text: &str) -> Result<Self, Faults> {
        let constants: Self = serde_json::from_str(text).map_err(|error| {
            let position = Position { line: error.line(), column: error.column() };
            let message = error.to_string();
            // The place is told apart from the message.
            let message = message.split(" at line ").next().unwrap_or(&message);
            Fault::new(source, message).at(position).hint("`servingsim profile fit` writes this file")
        })?;
        let mut faults = Faults::new();
        if constants.num_sms == 0 {
            faults.push(Fault::new(source, "a GPU has at least one multiprocessor").path("$.num_sms"));
        }
        for (section, names, values) in constants.sections() {
            for (name, value) in names.iter().zip(values) {
                let message = if !(value.is_finite() && value > 0.0) {
                    format!("{value} is not a positive number")
                } else if is_too_large(name, value) {
                    format!("{value} is more than the whole")
                } else {
                    continue;
                };
                faults.push(Fault::new(source, message).path(format!("$.{section}.{name}")));
            }
        }
        faults.into_result(constants)
    }

    fn sections(&self) -> [(&'static str, &'static [&'static str], Vec<f64>); 4] {
        [
            ("gemm", GemmConstants::names(), self.gemm.values()),
            ("elementwise", ElementwiseConstants::names(), self.elementwise.values()),
            ("attention", AttentionConstants::names(), self.attention.values()),
            ("experts", ExpertConstants::names(), self.experts.values()),
        ]
    }
}

impl fmt::Display for GpuConstants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?)
    }
}

/// Whether a constant of this name can't be as large as `value`: a share is at most the whole.
pub(crate) fn is_too_large(name: &str, value: f64) -> bool {
    name.ends_with("_share") && value > 1.0
}
