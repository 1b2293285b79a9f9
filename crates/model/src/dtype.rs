//! Element types of weights, activations and the KV cache.

use std::str::FromStr;

/// The type of weights and activations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE half precision.
    Float16,
    /// Brain float.
    Bfloat16,
    /// IEEE single precision.
    Float32,
    /// 8-bit float.
    Fp8,
    /// 8-bit integer.
    Int8,
}

impl Dtype {
    /// Every type.
    pub const ALL: &[Dtype] = &[Dtype::Float16, Dtype::Bfloat16, Dtype::Float32, Dtype::Fp8, Dtype::Int8];

    /// Its name on the command line and in `torch_dtype`.
    pub const fn name(self) -> &'static str {
        match self {
            Dtype::Float16 => "float16",
            Dtype::Bfloat16 => "bfloat16",
            Dtype::Float32 => "float32",
            Dtype::Fp8 => "fp8",
            Dtype::Int8 => "int8",
        }
    }

    /// The short name that profile folders use.
    pub const fn short_name(self) -> &'static str {
        match self {
            Dtype::Float16 => "fp16",
            Dtype::Bfloat16 => "bf16",
            Dtype::Float32 => "fp32",
            Dtype::Fp8 => "fp8",
            Dtype::Int8 => "int8",
        }
    }

    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Dtype::Float32 => 4,
            Dtype::Float16 | Dtype::Bfloat16 => 2,
            Dtype::Fp8 | Dtype::Int8 => 1,
        }
    }
}

impl FromStr for Dtype {
    type Err = ();
    fn from_str(name: &str) -> Result<Self, ()> {
        Dtype::ALL.iter().copied().find(|dtype| dtype.name() == name).ok_or(())
    }
}

/// The type of the KV cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvCacheDtype {
    /// That of the weights.
    #[default]
    Auto,
    /// 8-bit float.
    Fp8,
}

impl KvCacheDtype {
    /// Bytes of one element, beside weights of `weights`.
    pub const fn bytes(self, weights: Dtype) -> u64 {
        match self {
            KvCacheDtype::Auto => weights.bytes(),
            KvCacheDtype::Fp8 => 1,
        }
    }

    /// The folder name of profiles taken with these types: `bf16`, or `bf16-kvfp8`.
    pub fn profile_variant(self, weights: Dtype) -> String {
        match self {
            KvCacheDtype::Auto => weights.short_name().to_owned(),
            KvCacheDtype::Fp8 => format!("{}-kvfp8", weights.short_name()),
        }
    }
}
