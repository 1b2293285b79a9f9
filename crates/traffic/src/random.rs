//! Random numbers: a stream of its own for each purpose, and the distributions that are drawn from.
//!
//! A stream's seed is made of the user's seed and the purpose's name. So arrivals stay where they are when lengths are
//! drawn otherwise, and one more purpose shifts none of the others.

use std::f64::consts::TAU;

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// Numbers for one purpose.
#[derive(Clone, Debug)]
pub(crate) struct Stream(Pcg64Mcg);

impl Stream {
    /// The stream for `purpose`.
    pub(crate) fn new(seed: u64, purpose: &str) -> Self {
        // FNV-1a, whose result is mixed so that neighbouring seeds have nothing in common.
        let name = purpose
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
        Self(Pcg64Mcg::seed_from_u64(mixed(seed ^ mixed(name))))
    }

    /// Uniform: above 0 and at most 1, in steps of 2^-53.
    pub(crate) fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// A whole number below `end`, each as likely as any other.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "there is a number to draw");
        // The high half of a product (Lemire's method): what would make some numbers likelier is drawn again.
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(end);
            if product as u64 >= end.wrapping_neg() % end {
                return (product >> 64) as u64;
            }
        }
    }

    /// Exponential with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -self.uniform().ln()
    }

    /// Normal with mean 0 and deviation 1 (Box and Muller; the second number of a pair is not used).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (2.0 * self.exponential()).sqrt();
        radius * (TAU * self.uniform()).cos()
    }

    /// Gamma with this shape and mean 1 (Marsaglia and Tsang, 2000).
    pub(crate) fn gamma(&mut self, shape: f64) -> f64 {
        // Shapes below 1 come from the next higher one by a power of a uniform number.
        let (raised, boost) = if shape < 1.0 { (shape + 1.0, self.uniform().powf(1.0 / shape)) } else { (shape, 1.0) };
        let d = raised - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.uniform().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v * boost / shape;
            }
        }
    }
}

/// SplitMix64's output function: every input bit moves every output bit with a probability of about one half.
pub(crate) fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// Ranks from 1 to `n`, rank k with a probability in proportion to k^-s.
///
/// Drawn by rejection-inversion (Hörmann and Derflinger, 1996): the area under a curve above the probabilities is
/// inverted, and the few draws between both are drawn again. Time and memory don't depend on `n`.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    n: f64,
    s: f64,
    area_first: f64,
    area_last: f64,
    squeeze: f64,
}

impl Zipf {
    pub(crate) fn new(n: u64, s: f64) -> Self {
        let mut zipf = Self { n: n as f64, s, area_first: 0.0, area_last: 0.0, squeeze: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(n as f64 + 0.5);
        zipf.squeeze = 2.0 - zipf.inverse_area(zipf.area(2.5) - 2.0_f64.powf(-s));
        zipf
    }

    /// The integral of x^-s from 1 to x.
    fn area(&self, x: f64) -> f64 {
        let log = x.ln();
        log * expm1_over((1.0 - self.s) * log)
    }

    fn inverse_area(&self, area: f64) -> f64 {
        // Rounding may lead just below the least value there is.
        let t = (area * (1.0 - self.s)).max(-1.0);
        (area * ln1p_over(t)).exp()
    }

    pub(crate) fn draw(&self, stream: &mut Stream) -> u64 {
        loop {
            let area = self.area_last + stream.uniform() * (self.area_first - self.area_last);
            let x = self.inverse_area(area);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.squeeze || area >= self.area(rank + 0.5) - rank.powf(-self.s) {
                return rank as u64;
            }
        }
    }
}

/// (e^x − 1) / x.
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x / 2.0 }
}

/// ln(1 + x) / x.
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x / 2.0 }
}

#[cfg(test)]
mod tests;
