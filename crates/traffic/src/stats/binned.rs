//! Arrivals over time, in a bounded number of bins.

/// Most bins. When there would be more, each two become one.
const BINS_MAX: usize = 2048;

/// How many arrive in each stretch of time, all stretches being equally long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binned {
    width_ns: u64,
    counts: Vec<u64>,
    last_ns: u64,
}

impl Default for Binned {
    fn default() -> Self {
        Self { width_ns: 1_000, counts: Vec::new(), last_ns: 0 }
    }
}

impl Binned {
    pub(super) fn add(&mut self, ns: u64) {
        while ns / self.width_ns >= BINS_MAX as u64 {
            self.counts = self.counts.chunks(2).map(|pair| pair.iter().sum()).collect();
            self.width_ns *= 2;
        }
        let bin = (ns / self.width_ns) as usize;
        if self.counts.len() <= bin {
            self.counts.resize(bin + 1, 0);
        }
        self.counts[bin] += 1;
        self.last_ns = self.last_ns.max(ns);
    }

    /// The bins, so many of them taken together that at most `max` remain: how long one is, in seconds, and how many
    /// arrive in each.
    ///
    /// # Panics
    /// When `max` is 0.
    pub fn merged(&self, max: usize) -> (f64, Vec<u64>) {
        let factor = self.counts.len().div_ceil(max).max(1);
        let counts = self.counts.chunks(factor).map(|bins| bins.iter().sum()).collect();
        (self.width_ns as f64 * factor as f64 / 1e9, counts)
    }

    /// The time up to the last arrival in `num` stretches: how long one is, in seconds, and how many arrive in each. What
    /// was counted across a boundary belongs to both sides in proportion.
    ///
    /// # Panics
    /// When `num` is 0.
    pub fn stretches(&self, num: usize) -> (f64, Vec<f64>) {
        // The last arrival belongs to the last stretch.
        let width_ns = (self.last_ns + 1) as f64 / num as f64;
        let mut stretches = vec![0.0; num];
        for (bin, &count) in self.counts.iter().enumerate() {
            let start = bin as f64 * self.width_ns as f64 / width_ns;
            let end = ((bin + 1) as f64 * self.width_ns as f64 / width_ns).min(num as f64);
            let length = (end - start).max(f64::MIN_POSITIVE);
            let mut from = start;
            while from < end {
                let to = (from.floor() + 1.0).min(end);
                stretches[(from as usize).min(num - 1)] += count as f64 * (to - from) / length;
                from = to;
            }
        }
        (width_ns / 1e9, stretches)
    }
}
