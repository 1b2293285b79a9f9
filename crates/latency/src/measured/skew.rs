//! What decodes of unequal length cost beyond decodes of equal length.
//!
//! The attention grid knows steps whose decodes all have the same KV length. A step whose decodes differ reads as much
//! KV as one in which all have the mean, but its longest decode keeps its part of the GPU busy while others idle. Its
//! time lies between that at the mean and that at the maximum, `t = t_mean + α (t_max − t_mean)`, and a profile gives
//! α by bucket of five quantities: the prefill tokens as they are, and the number of decodes, the skew rate
//! `(mean − min) / (max − min)`, the longest decode's KV and the prefills' history by range. A range ends at its upper
//! edge, inclusive; what lies above the last edge belongs to the last range.
//!
//! A bucket that was not measured takes the pooled α of its bundle; a bundle without a fit takes 0: a correction that
//! was not measured is better left out.

use diagnostics::Faults;
use rustc_hash::FxHashMap;

use super::csv::{self, Cells, Rows, Text};
use super::files::TableFile;
use crate::AttentionShape;

/// The ranges of one quantity, each with its label.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SkewAxis {
    upper_edges: Vec<f64>,
    labels: Vec<String>,
    /// The word of each label, by which most are told apart.
    words: Vec<u64>,
}

impl SkewAxis {
    /// Ranges between neighbouring `bins`, in order, so there is one bin more than labels.
    pub(crate) fn new(bins: &[f64], labels: Vec<String>) -> Result<Self, String> {
        if labels.is_empty() || labels.len() > usize::from(u8::MAX) {
            return Err(format!("{} labels, and there can be 1 to {}", labels.len(), u8::MAX));
        }
        if bins.len() != labels.len() + 1 {
            return Err(format!(
                "{} labels need {} bins, and there are {}",
                labels.len(),
                labels.len() + 1,
                bins.len()
            ));
        }
        if let Some(twice) = (1..labels.len()).find(|&index| labels[..index].contains(&labels[index])) {
            return Err(format!("the label `{}` stands twice", labels[twice]));
        }
        let words = labels.iter().map(|label| Text::new(label.as_bytes()).word).collect();
        Ok(Self { upper_edges: bins[1..].to_vec(), labels, words })
    }

    fn range_of(&self, value: f64) -> u8 {
        let last = self.labels.len() - 1;
        self.upper_edges.iter().position(|&edge| value <= edge).unwrap_or(last) as u8
    }

    /// The last whole number that is in the range of `value`.
    fn last_of(&self, value: f64) -> u64 {
        let range = usize::from(self.range_of(value));
        // What is above the last edge belongs to the last range.
        if range + 1 < self.upper_edges.len() { self.upper_edges[range] as u64 } else { u64::MAX }
    }

    fn labelled(&self, label: Text<'_>) -> Option<u8> {
        let is_label = |index: &usize| self.words[*index] == label.word && label.is(self.labels[*index].as_bytes());
        (0..self.words.len()).find(is_label).map(|index| index as u8)
    }
}

/// The four quantities that are put in ranges, in the order in which bucket keys name them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SkewAxes(pub(crate) [SkewAxis; 4]);

impl SkewAxes {
    /// What `meta.yaml` calls them: `<name>_bins` and `<name>_labels`.
    pub(crate) const NAMES: [&str; 4] = ["n", "skew_rate", "kv_big", "kp"];
    /// The columns of `skew_fit.csv` that hold their labels.
    const COLUMNS: [&str; 4] = ["n_label", "skew_rate_label", "kv_big_label", "kp_label"];
}

impl Default for SkewAxes {
    /// The ranges of bundles older than the field that states them.
    fn default() -> Self {
        let axis = |bins: &[f64], labels: &[&str]| {
            SkewAxis::new(bins, labels.iter().map(|&label| label.to_owned()).collect()).expect("the default ranges")
        };
        Self([
            axis(
                &[0.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 1e6],
                &["n<=2", "n<=4", "n<=8", "n<=16", "n<=32", "n<=64", "n<=128", "n>128"],
            ),
            axis(&[-0.01, 0.05, 0.15, 0.40, 0.70, 1.01], &["sr<=5%", "sr<=15%", "sr<=40%", "sr<=70%", "sr>70%"]),
            axis(&[0.0, 1024.0, 4096.0, 16384.0, 1e9], &["kvB<=1k", "kvB<=4k", "kvB<=16k", "kvB>16k"]),
            axis(&[-1.0, 0.0, 2048.0, 1e9], &["kp=0", "kp<=2k", "kp>2k"]),
        ])
    }
}

/// Prefill tokens and four range numbers, packed.
type Bucket = u64;

fn bucket(prefill_tokens: u32, ranges: [u8; 4]) -> Bucket {
    u64::from(prefill_tokens) << 32 | u64::from(u32::from_be_bytes(ranges))
}

/// Rows of the file are seldom shorter.
const ROW_BYTES_MIN: u64 = 40;

/// α by bucket, for one tensor-parallel degree.
#[derive(Debug)]
pub(crate) struct SkewFit {
    axes: SkewAxes,
    alphas: FxHashMap<Bucket, f64>,
    alpha_default: f64,
}

impl SkewFit {
    /// A fit without buckets yet.
    pub(crate) fn new(axes: SkewAxes, alpha_default: f64) -> Self {
        Self { axes, alphas: FxHashMap::default(), alpha_default }
    }

    /// The same α for every step.
    pub(crate) fn constant(alpha: f64) -> Self {
        Self::new(SkewAxes::default(), alpha)
    }

    /// Whether no bucket is known.
    pub(crate) fn is_empty(&self) -> bool {
        self.alphas.is_empty()
    }

    /// Adds one bucket by its key, such as `pc=0|n<=2|sr<=5%|kvB<=1k|kp=0`; the first of equals counts.
    pub(crate) fn insert(&mut self, key: &str, alpha: f64) -> Result<(), String> {
        let mut parts = key.split('|');
        let prefill_tokens = parts.next().and_then(|part| part.strip_prefix("pc=")).and_then(|pc| pc.parse().ok());
        let prefill_tokens = prefill_tokens.ok_or_else(|| format!("`{key}` does not begin with pc=<tokens>"))?;
        let mut ranges = [0; 4];
        for (axis, range) in self.axes.0.iter().zip(&mut ranges) {
            let label = parts.next().unwrap_or_default();
            *range = axis
                .labelled(Text::new(label.as_bytes()))
                .ok_or_else(|| format!("no axis has the label `{label}` of `{key}`"))?;
        }
        if parts.next().is_some() {
            return Err(format!("`{key}` has more than five parts"));
        }
        self.alphas.entry(bucket(prefill_tokens, ranges)).or_insert(alpha);
        Ok(())
    }

    /// Adds the buckets of a `skew_fit.csv`; the first of equals counts.
    pub(crate) fn read(&mut self, source: &str, file: TableFile, faults: &mut Faults) {
        let [n, skew_rate, kv_big, kp] = SkewAxes::COLUMNS;
        self.alphas.reserve(file.num_rows(ROW_BYTES_MIN));
        csv::read(source, file, ["pc", n, skew_rate, kv_big, kp, "alpha"], faults, self);
    }

    /// α for a step.
    pub(crate) fn alpha(&self, shape: &AttentionShape) -> f64 {
        let Ok(prefill_tokens) = u32::try_from(shape.prefill_tokens) else { return self.alpha_default };
        let [n, skew_rate, kv_big, kp] = &self.axes.0;
        let ranges = [
            n.range_of(shape.num_decodes as f64),
            skew_rate.range_of(skew(shape)),
            kv_big.range_of(shape.kv_decode_max as f64),
            kp.range_of(shape.prefill_history as f64),
        ];
        self.alphas.get(&bucket(prefill_tokens, ranges)).copied().unwrap_or(self.alpha_default)
    }

    /// Up to which length α is the same as at `longest`, that of the longest decode, where nothing else changes.
    pub(crate) fn same_up_to(&self, longest: u64) -> u64 {
        let [_, _, kv_big, _] = &self.axes.0;
        kv_big.last_of(longest as f64)
    }
}

impl Rows for SkewFit {
    type Record<'a> = (Bucket, f64);

    fn parse<'a, C: Cells<'a>>(&self, cells: &mut C) -> Result<(Bucket, f64), C::Fault> {
        let prefill_tokens = cells.whole(0)?;
        let mut ranges = [0; 4];
        for (index, axis) in self.axes.0.iter().enumerate() {
            let label = cells.text(index + 1)?;
            ranges[index] = axis.labelled(label).ok_or_else(|| {
                cells.bad(index + 1, || {
                    let message = format!("`{}` is no label of this axis", String::from_utf8_lossy(label.bytes));
                    (message, Some(format!("meta.yaml has {}", axis.labels.join(", "))))
                })
            })?;
        }
        Ok((bucket(prefill_tokens, ranges), cells.number(5)?))
    }

    fn push(&mut self, (bucket, alpha): (Bucket, f64)) {
        self.alphas.entry(bucket).or_insert(alpha);
    }
}

/// Where the mean lies between the shortest decode (0) and the longest (1); the middle when they are equal.
fn skew(shape: &AttentionShape) -> f64 {
    let gap = shape.kv_decode_max.saturating_sub(shape.kv_decode_min);
    if gap == 0 {
        return 0.5;
    }
    (shape.kv_decode_mean.saturating_sub(shape.kv_decode_min) as f64 / gap as f64).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(prefill_tokens: u64, prefill_history: u64, num_decodes: u64, kv: [u64; 3]) -> AttentionShape {
        let [kv_decode_min, kv_decode_mean, kv_decode_max] = kv;
        AttentionShape { prefill_tokens, prefill_history, num_decodes, kv_decode_mean, kv_decode_max, kv_decode_min }
    }

    #[test]
    fn ranges_end_at_their_upper_edge() {
        let [n, skew_rate, kv_big, kp] = SkewAxes::default().0;
        let check = |axis: &SkewAxis, value, label: &str| {
            assert_eq!(axis.labels[usize::from(axis.range_of(value))], label, "{value}");
        };
        check(&n, 2.0, "n<=2");
        check(&n, 3.0, "n<=4");
        check(&n, 128.0, "n<=128");
        check(&n, 129.0, "n>128");
        check(&n, 1e9, "n>128"); // above the last edge
        check(&skew_rate, 0.0, "sr<=5%");
        check(&skew_rate, 0.4, "sr<=40%");
        check(&skew_rate, 1.0, "sr>70%");
        check(&kv_big, 16384.0, "kvB<=16k");
        check(&kv_big, 16385.0, "kvB>16k");
        check(&kp, 0.0, "kp=0");
        check(&kp, 1.0, "kp<=2k");
        assert_eq!([0.0, 1024.0, 1025.0, 1e5].map(|value| kv_big.last_of(value)), [1024, 1024, 4096, u64::MAX]);
    }

    #[test]
    fn skew_of_a_step() {
        let check = |kv, expected: f64| assert_eq!(skew(&shape(0, 0, 2, kv)), expected, "{kv:?}");
        check([100, 150, 300], 0.25);
        check([100, 100, 300], 0.0);
        check([100, 300, 300], 1.0);
        check([100, 100, 100], 0.5);
        check([200, 100, 300], 0.0); // a mean below the minimum
        check([100, 400, 300], 1.0); // a mean above the maximum
    }

    #[test]
    fn buckets() {
        let mut fit = SkewFit::new(SkewAxes::default(), 0.5);
        fit.insert("pc=0|n<=2|sr<=40%|kvB<=1k|kp=0", 0.1).unwrap();
        fit.insert("pc=0|n<=2|sr<=40%|kvB<=1k|kp=0", 0.2).unwrap();
        fit.insert("pc=16|n<=4|sr<=40%|kvB<=1k|kp<=2k", 0.3).unwrap();
        let check = |shape: &AttentionShape, expected: f64| assert_eq!(fit.alpha(shape), expected, "{shape:?}");
        check(&shape(0, 0, 2, [100, 150, 300]), 0.1);
        check(&shape(16, 2048, 4, [100, 150, 300]), 0.3);
        check(&shape(15, 2048, 4, [100, 150, 300]), 0.5); // prefill tokens must be met exactly
        check(&shape(0, 1, 2, [100, 150, 300]), 0.5);
        check(&shape(u64::MAX, 0, 2, [100, 150, 300]), 0.5);
    }

    #[test]
    fn keys_that_are_none() {
        let check = |key: &str, expected: &str| {
            let error = SkewFit::constant(0.0).insert(key, 0.1).unwrap_err();
            assert!(error.contains(expected), "{key}: {error}");
        };
        check("", "does not begin with pc=");
        check("pc=x|n<=2|sr<=5%|kvB<=1k|kp=0", "does not begin with pc=");
        check("pc=0|n<=3|sr<=5%|kvB<=1k|kp=0", "the label `n<=3`");
        check("pc=0|n<=2|sr<=5%|kvB<=1k", "the label ``");
        check("pc=0|n<=2|sr<=5%|kvB<=1k|kp=0|x", "more than five parts");
    }

    #[test]
    fn axes_that_are_none() {
        let check = |bins: &[f64], labels: &[&str], expected: &str| {
            let error = SkewAxis::new(bins, labels.iter().map(|&label| label.to_owned()).collect()).unwrap_err();
            assert!(error.contains(expected), "{error}");
        };
        check(&[0.0], &[], "0 labels");
        check(&[0.0, 1.0], &["a", "b"], "2 labels need 3 bins, and there are 2");
        check(&[0.0, 1.0, 2.0], &["a", "a"], "the label `a` stands twice");
    }
}
