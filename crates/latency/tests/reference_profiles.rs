//! The reference's bundles, and lookups in them against a second, plain implementation of the rules.
//!
//! The oracle keeps every row in ordered maps, goes through them one by one, builds bucket keys as text and knows
//! nothing of the crate's tables. Both must agree to the nanosecond.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use latency::{AttentionShape, Bundle, BundleName, Catalogue, OpLatency, Profile};
use model::{Architecture, Layer, Table};
use units::Duration;

const SHAPES_PER_DEGREE: usize = 2_000;

/// Hardware, model, family, degrees.
const BUNDLES: [(&str, &str, &str, &[u64]); 4] = [
    ("RTX4090", "meta-llama/Llama-3.1-8B", "llama", &[1]),
    ("RTXPRO6000", "Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3_moe", &[1, 2]),
    ("RTXPRO6000", "Qwen/Qwen3-32B", "qwen3", &[1, 2]),
    ("RTXPRO6000", "meta-llama/Llama-3.1-8B", "llama", &[1, 2]),
];

/// Key to value, blended on a line.
type Points = BTreeMap<u64, f64>;

fn blend(points: &Points, question: u64) -> f64 {
    let points: Vec<(u64, f64)> = points.iter().map(|(&key, &value)| (key, value)).collect();
    let above = points.iter().position(|point| point.0 > question);
    let (low, high) = match above {
        Some(0) => return points[0].1,
        Some(above) => (points[above - 1], points[above]),
        None if points.len() == 1 => return points[0].1,
        None => (points[points.len() - 2], points[points.len() - 1]),
    };
    let weight = (question - low.0) as f64 / (high.0 - low.0) as f64;
    low.1 + weight * (high.1 - low.1)
}

/// The two of `values` that have a say at `question`.
fn around(values: impl Iterator<Item = u64>, question: u64) -> [u64; 2] {
    let values: Vec<u64> = values.collect::<BTreeSet<u64>>().into_iter().collect();
    let above = values.iter().position(|&value| value > question).unwrap_or(values.len() - 1).max(1);
    [values[above - 1], values[above]]
}

fn whole(time: f64) -> u64 {
    if time < 1.0 { 1 } else { time.trunc() as u64 }
}

fn rows(path: &Path) -> Vec<BTreeMap<String, String>> {
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    lines
        .map(|line| {
            header.iter().zip(line.split(',')).map(|(name, cell)| (name.to_string(), cell.to_owned())).collect()
        })
        .collect()
}

fn ns(row: &BTreeMap<String, String>) -> f64 {
    (row["time_us"].parse::<f64>().unwrap() * 1000.0).round_ties_even().max(1.0)
}

fn int(row: &BTreeMap<String, String>, column: &str) -> u64 {
    row[column].parse().unwrap()
}

/// One degree of one bundle.
struct Oracle {
    curves: BTreeMap<String, Points>,
    /// (prefill tokens, decodes) to history to KV to time.
    attention: BTreeMap<(u64, u64), BTreeMap<u64, Points>>,
    experts: BTreeMap<u64, Points>,
    alphas: BTreeMap<String, f64>,
    /// Of `n`, `skew_rate`, `kv_big`, `kp`; none without a fit.
    axes: Vec<(Vec<f64>, Vec<String>)>,
    alpha_default: f64,
}

impl Oracle {
    fn read(dir: &Path, tp: u64) -> Self {
        let tp_dir = dir.join(format!("tp{tp}"));
        let mut oracle = Self {
            curves: BTreeMap::new(),
            attention: BTreeMap::new(),
            experts: BTreeMap::new(),
            alphas: BTreeMap::new(),
            axes: Vec::new(),
            alpha_default: 0.0,
        };
        for (file, key) in [("dense.csv", "tokens"), ("per_sequence.csv", "sequences")] {
            for row in rows(&tp_dir.join(file)) {
                oracle.curves.entry(row["layer"].clone()).or_default().insert(int(&row, key), ns(&row));
            }
        }
        for row in rows(&tp_dir.join("attention.csv")) {
            let sheet = oracle.attention.entry((int(&row, "prefill_chunk"), int(&row, "n_decode"))).or_default();
            sheet.entry(int(&row, "kv_prefill")).or_default().insert(int(&row, "kv_decode"), ns(&row));
        }
        if dir.join("tp1/moe.csv").exists() {
            for row in rows(&dir.join("tp1/moe.csv")) {
                let experts = oracle.experts.entry(int(&row, "activated_experts")).or_default();
                experts.insert(int(&row, "tokens"), ns(&row));
            }
        }
        oracle.read_fit(&fs::read_to_string(dir.join("meta.yaml")).unwrap(), &tp_dir, tp);
        oracle
    }

    /// Finds the fit by the shape of its lines, which is all these files need.
    fn read_fit(&mut self, meta: &str, tp_dir: &Path, tp: u64) {
        let Some((_, fit)) = meta.split_once("skew_fit:\n  enabled: true\n") else { return };
        let list = |key: &str| {
            let (_, rest) = fit.split_once(&format!("{key}: [")).unwrap();
            rest.split(']').next().unwrap().split(", ").map(str::to_owned).collect::<Vec<String>>()
        };
        for name in ["n", "skew_rate", "kv_big", "kp"] {
            let bins = list(&format!("{name}_bins")).iter().map(|bin| bin.parse().unwrap()).collect();
            self.axes.push((bins, list(&format!("{name}_labels"))));
        }
        let (_, entry) = fit.split_once(&format!("\n    {tp}:\n")).unwrap();
        let (_, default) = entry.split_once("alpha_default: ").unwrap();
        self.alpha_default = default.lines().next().unwrap().parse().unwrap();
        for row in rows(&tp_dir.join("skew_fit.csv")) {
            let columns = ["pc", "n_label", "skew_rate_label", "kv_big_label", "kp_label"];
            self.alphas.insert(columns.map(|column| row[column].clone()).join("|"), row["alpha"].parse().unwrap());
        }
    }

    fn uniform(&self, shape: &AttentionShape, kv: u64) -> u64 {
        let corner = |prefill: u64, decodes: u64| {
            let square = |a: u64, b: u64| (i128::from(a) - i128::from(b)).pow(2);
            let mut best = (i128::MAX, None);
            for (&(p, d), sheet) in &self.attention {
                let distance = square(p, prefill) + square(d, decodes);
                if distance < best.0 {
                    best = (distance, Some(sheet));
                }
            }
            let between = best.1.unwrap().iter().map(|(&history, points)| (history, blend(points, kv))).collect();
            blend(&between, shape.prefill_history)
        };
        let decodes = around(self.attention.keys().map(|pair| pair.1), shape.num_decodes);
        let along_decodes = |prefill| blend(&decodes.map(|d| (d, corner(prefill, d))).into(), shape.num_decodes);
        let prefills = around(self.attention.keys().map(|pair| pair.0), shape.prefill_tokens);
        whole(blend(&prefills.map(|p| (p, along_decodes(p))).into(), shape.prefill_tokens))
    }

    fn attention(&self, shape: &AttentionShape) -> u64 {
        let mean = self.uniform(shape, shape.kv_decode_mean);
        let alpha = self.alpha(shape);
        let max = self.uniform(shape, shape.kv_decode_max);
        if shape.num_decodes < 2 || shape.kv_decode_max == shape.kv_decode_mean || alpha == 0.0 || max <= mean {
            return mean;
        }
        let time = mean as f64 + alpha * (max as f64 - mean as f64);
        let (floor, fraction) = (time.floor(), time - time.floor());
        let up = fraction > 0.5 || fraction == 0.5 && floor % 2.0 != 0.0;
        whole(floor + f64::from(u8::from(up)))
    }

    fn alpha(&self, shape: &AttentionShape) -> f64 {
        let gap = shape.kv_decode_max as f64 - shape.kv_decode_min as f64;
        let rate = if gap > 0.0 { (shape.kv_decode_mean as f64 - shape.kv_decode_min as f64) / gap } else { 0.5 };
        let values = [shape.num_decodes as f64, rate, shape.kv_decode_max as f64, shape.prefill_history as f64];
        let mut key = shape.prefill_tokens.to_string();
        for ((bins, labels), value) in self.axes.iter().zip(values) {
            let label = bins[1..].iter().zip(labels).find(|(edge, _)| value <= **edge).map(|(_, label)| label);
            key = format!("{key}|{}", label.or(labels.last()).unwrap());
        }
        *self.alphas.get(&key).unwrap_or(&self.alpha_default)
    }

    fn experts(&self, tokens: u64, active: u64) -> u64 {
        whole(blend(&self.experts.iter().map(|(&key, points)| (key, blend(points, tokens))).collect(), active))
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    /// Up to `max`, small ones as often as large ones, powers of two and zero often.
    fn size(&mut self, max: u64) -> u64 {
        let scale = self.next() % (max.ilog2() as u64 + 2);
        match self.next() % 4 {
            0 => 0,
            1 => (1 << scale).min(max),
            _ => self.next() % (1 << scale).min(max) + 1,
        }
    }

    fn shape(&mut self) -> AttentionShape {
        let num_decodes = self.size(400);
        let kv_decode_min = self.size(16_384);
        let kv_decode_mean = kv_decode_min + self.size(8_192);
        let kv_decode_max = kv_decode_mean + self.size(16_384);
        AttentionShape {
            prefill_tokens: self.size(4_096),
            prefill_history: self.size(40_000),
            num_decodes,
            kv_decode_mean,
            kv_decode_max,
            kv_decode_min,
        }
    }
}

/// What a comparison saw.
#[derive(Default)]
struct Seen {
    compared: u64,
    /// Attention whose time differs from that of equally long decodes.
    corrected: u64,
    worst_ns: u64,
    /// The lookup that deviates most.
    worst: String,
}

impl Seen {
    fn compare(&mut self, what: &dyn std::fmt::Debug, found: Duration, expected: u64) {
        self.compared += 1;
        let deviation = found.ns().abs_diff(expected);
        if deviation > self.worst_ns {
            self.worst_ns = deviation;
            self.worst = format!("{what:?}: {found}, expected {expected}");
        }
    }
}

/// Compares random lookups at one degree; `first` is the oracle of degree 1.
fn compare(
    architecture: &Architecture,
    profile: &Profile,
    oracle: &Oracle,
    first: &Oracle,
    seed: u64,
    seen: &mut Seen,
) {
    let mut random = Random(seed);
    for _ in 0..SHAPES_PER_DEGREE {
        let size = random.size(8_192);
        for &layer in Layer::ALL {
            let stable = if architecture.is_tp_stable(layer) { first } else { oracle };
            let expected = || whole(blend(&stable.curves[layer.name()], size.max(1)));
            match architecture.table(layer) {
                Some(Table::Dense) => seen.compare(&(layer, size), profile.dense(layer, size), expected()),
                Some(Table::PerSequence) => {
                    seen.compare(&(layer, size), profile.per_sequence(layer, size), expected());
                }
                Some(Table::Moe) => {
                    let (tokens, active) = (size.max(1), random.size(200).max(1));
                    let expected = oracle.experts(tokens, active);
                    seen.compare(&(layer, tokens, active), profile.experts(tokens, active), expected);
                }
                Some(Table::Attention) => {
                    let shape = random.shape();
                    let expected = oracle.attention(&shape);
                    seen.compare(&shape, profile.attention(&shape), expected);
                    seen.corrected += u64::from(expected != oracle.uniform(&shape, shape.kv_decode_mean));
                }
                None => {}
            }
        }
    }
}

#[test]
fn lookups_agree_with_the_oracle() {
    let Some(reference) = testkit::reference_dir() else { return };
    let catalogue = Catalogue::scan(&reference.join("profiles")).unwrap();
    assert_eq!(catalogue.names().len(), BUNDLES.len());
    let mut seen = Seen::default();
    for (hardware, model, family, degrees) in BUNDLES {
        let name = BundleName { hardware: hardware.into(), model: model.into(), variant: "bf16".into() };
        let dir = catalogue.find(&name).unwrap();
        let mut bundle = Bundle::load(&dir).unwrap();
        assert_eq!(bundle.tp_degrees().collect::<Vec<_>>(), degrees);
        let architecture = Architecture::built_in(family).unwrap();
        let first = Oracle::read(&dir, 1);
        for &tp in degrees {
            let profile = bundle.at(&architecture, tp).unwrap();
            assert_eq!(profile.missing_layers(), [], "{name}");
            compare(&architecture, &profile, &Oracle::read(&dir, tp), &first, tp, &mut seen);
        }
    }
    let Seen { compared, corrected, worst_ns, worst } = seen;
    println!("{compared} lookups compared, {corrected} of them corrected for skew, worst deviation {worst_ns} ns");
    assert_eq!(worst_ns, 0, "{worst}");
    assert!(corrected > compared / 100, "the shapes hardly ever need a correction");
}
