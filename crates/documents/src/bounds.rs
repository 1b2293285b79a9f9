//! Which numbers a key may hold.

use std::fmt;

/// The numbers a key may hold. Upper bounds are far above any machine; they keep later arithmetic from overflowing.
#[derive(Clone, Copy, Debug)]
pub enum Bounds {
    /// Above 0.
    Positive {
        /// The largest.
        most: f64,
    },
    /// From `least`.
    From {
        /// The smallest.
        least: f64,
        /// The largest.
        most: f64,
    },
}

impl Bounds {
    /// A share of a whole: above 0, at most 1.
    pub const FRACTION: Bounds = Bounds::Positive { most: 1.0 };

    /// Whether `number` is one of them. What is not a number never is.
    pub fn contain(self, number: f64) -> bool {
        match self {
            Bounds::Positive { most } => number > 0.0 && number <= most,
            Bounds::From { least, most } => number >= least && number <= most,
        }
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bounds::Positive { most } => write!(f, "above 0 and at most {most}"),
            Bounds::From { least, most } => write!(f, "from {least} to {most}"),
        }
    }
}
