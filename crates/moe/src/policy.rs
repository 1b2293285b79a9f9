//! The named policies by which tokens choose their experts.

use std::fmt;
use std::str::FromStr;

use crate::gates::{Balanced, Random, RoundRobin, Uniform};
use crate::{ExpertGate, ExpertRouting};

/// How tokens choose their experts. Written as the reference's flag values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// What a gate trained for balance comes to on average, in closed form: `BALANCED`, formerly `COPY`.
    #[default]
    Balanced,
    /// What drawing experts comes to on average, all equally likely, in closed form: `UNIFORM`.
    Uniform,
    /// Every token takes the first experts: `RR`. The reference begins a new round with each token.
    RoundRobin,
    /// Every token draws its experts, all equally likely: `RAND`.
    Random,
}

/// A policy name that is none; displays as a sentence that lists those there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPolicy(String);

impl ExpertRouting for Policy {
    fn gate(&self, seed: u64) -> Box<dyn ExpertGate> {
        match self {
            Policy::Balanced => Box::new(Balanced),
            Policy::Uniform => Box::new(Uniform),
            Policy::RoundRobin => Box::new(RoundRobin),
            Policy::Random => Box::new(Random::new(seed)),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Policy::Balanced => "BALANCED",
            Policy::Uniform => "UNIFORM",
            Policy::RoundRobin => "RR",
            Policy::Random => "RAND",
        })
    }
}

impl FromStr for Policy {
    type Err = UnknownPolicy;

    /// Reads a name in any case.
    ///
    /// # Errors
    /// When no policy goes by that name.
    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        match name.to_ascii_uppercase().as_str() {
            "BALANCED" | "COPY" => Ok(Policy::Balanced),
            "UNIFORM" => Ok(Policy::Uniform),
            "RR" => Ok(Policy::RoundRobin),
            "RAND" => Ok(Policy::Random),
            _ => Err(UnknownPolicy(name.to_owned())),
        }
    }
}

impl fmt::Display for UnknownPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown expert routing policy `{}`, expected BALANCED, UNIFORM, RR or RAND", self.0)
    }
}

impl std::error::Error for UnknownPolicy {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_flag_values() {
        let check = |name: &str, expected: Option<Policy>| assert_eq!(name.parse().ok(), expected, "{name}");
        check("BALANCED", Some(Policy::Balanced));
        check("COPY", Some(Policy::Balanced));
        check("UNIFORM", Some(Policy::Uniform));
        check("RR", Some(Policy::RoundRobin));
        check("RAND", Some(Policy::Random));
        check("rand", Some(Policy::Random));
        check("CUSTOM", None);
        check("", None);
        for policy in [Policy::Balanced, Policy::Uniform, Policy::RoundRobin, Policy::Random] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!(
            "FAST".parse::<Policy>().unwrap_err().to_string(),
            "unknown expert routing policy `FAST`, expected BALANCED, UNIFORM, RR or RAND"
        );
    }
}
