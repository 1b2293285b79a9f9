//! Whole numbers, counted by value.

use rustc_hash::FxHashMap;

/// How often which number came.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    counts: FxHashMap<u64, u64>,
    num: u64,
    sum: u128,
    sum_of_squares: f64,
}

impl Counts {
    /// Counts `value` once.
    pub fn add(&mut self, value: u64) {
        *self.counts.entry(value).or_default() += 1;
        self.num += 1;
        self.sum += u128::from(value);
        self.sum_of_squares += value as f64 * value as f64;
    }

    /// How many numbers there were.
    pub fn num(&self) -> u64 {
        self.num
    }

    /// All of them together.
    pub fn sum(&self) -> u128 {
        self.sum
    }

    /// Their mean; not a number when there are none.
    pub fn mean(&self) -> f64 {
        self.sum as f64 / self.num as f64
    }

    /// Their standard deviation, of them alone and not of what they are a sample of.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        (self.sum_of_squares / self.num as f64 - mean * mean).max(0.0).sqrt()
    }

    /// The numbers in rising order, each with how often it came.
    pub fn sorted(&self) -> Sorted {
        let mut pairs: Vec<(u64, u64)> = self.counts.iter().map(|(&value, &count)| (value, count)).collect();
        pairs.sort_unstable();
        Sorted { pairs, num: self.num }
    }
}

/// Numbers in rising order.
#[derive(Clone, Debug)]
pub struct Sorted {
    /// Each with how often it came.
    pub pairs: Vec<(u64, u64)>,
    num: u64,
}

impl Sorted {
    /// The number below which `percent` of them are, as NumPy has it: between two neighbours in proportion.
    ///
    /// # Panics
    /// When there are none.
    pub fn percentile(&self, percent: f64) -> f64 {
        let place = percent / 100.0 * (self.num - 1) as f64;
        let (below, above) = (self.at(place.floor() as u64) as f64, self.at(place.ceil() as u64) as f64);
        below + (above - below) * place.fract()
    }

    /// The number that `index` of them come before.
    fn at(&self, index: u64) -> u64 {
        let mut before = 0;
        let found = self.pairs.iter().find(|&&(_, count)| {
            before += count;
            before > index
        });
        found.expect("the index is below how many there are").0
    }

    /// How many are from `first` and below `end`.
    pub fn count_between(&self, first: u64, end: u64) -> u64 {
        let start = self.pairs.partition_point(|&(value, _)| value < first);
        self.pairs[start..].iter().take_while(|&&(value, _)| value < end).map(|&(_, count)| count).sum()
    }
}
