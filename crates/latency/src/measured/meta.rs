//! What a bundle's `meta.yaml` says that a lookup needs: the limits that were swept, and how α is found.
//!
//! ```yaml
//! engine_effective: {max_num_batched_tokens: 2048, max_num_seqs: 256}
//! skew_fit:
//!   enabled: true
//!   bucket_axes: {n_bins: [0, 2, 4], n_labels: [n<=2, n>2], …}   # or for one degree, in its entry
//!   per_tp:
//!     1: {alpha_default: 0.0645, bucket_table: tp1/skew_fit.csv}
//!     2: {alpha_default: 0.0748, alpha_by_bucket: {pc=0|n<=2|sr<=5%|kvB<=1k|kp=0: 0.07}}
//! ```
//!
//! Everything else tells where the profile comes from and is ignored.

use std::collections::BTreeMap;
use std::path::PathBuf;

use diagnostics::{Fault, Faults, Position};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker};

use super::skew::{SkewAxes, SkewAxis, SkewFit};

/// The limits of the engine that was profiled. Beyond them, times are extrapolated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProfiledLimits {
    /// Most tokens in a step.
    pub max_num_batched_tokens: Option<u64>,
    /// Most sequences in a step.
    pub max_num_seqs: Option<u64>,
}

/// What `meta.yaml` says.
#[derive(Debug, Default)]
pub(crate) struct Meta {
    pub(crate) limits: ProfiledLimits,
    /// The fit of each tensor-parallel degree that has one.
    pub(crate) fits: BTreeMap<u64, MetaFit>,
    /// α of the other degrees.
    pub(crate) alpha_default: f64,
}

/// What `meta.yaml` says of the fit of one degree.
#[derive(Debug)]
pub(crate) struct MetaFit {
    /// The fit, with the buckets that stand in `meta.yaml` itself.
    pub(crate) fit: SkewFit,
    /// The file with the buckets, relative to the bundle, when none stand in `meta.yaml`.
    pub(crate) table: Option<PathBuf>,
}

impl Meta {
    /// Reads `text`; what is wrong with it goes to `faults`, under the name `source`.
    pub(crate) fn read(source: &str, text: &str, faults: &mut Faults) -> Self {
        let documents = match MarkedYaml::load_from_str(text) {
            Ok(documents) => documents,
            Err(error) => {
                faults.push(Fault::new(source, error.info()).at(position(error.marker())));
                return Self::default();
            }
        };
        let mut reader = Reader { source, faults };
        match documents.first() {
            Some(root) if root.data.is_mapping() => reader.meta(root),
            _ => {
                reader.faults.push(Fault::new(source, "there is no mapping").hint("the profiler writes this file"));
                Self::default()
            }
        }
    }
}

fn position(marker: &Marker) -> Position {
    Position { line: marker.line(), column: marker.col() + 1 }
}

/// What stands under `key`, unless that is null.
fn get<'a>(node: &'a MarkedYaml<'a>, key: &str) -> Option<&'a MarkedYaml<'a>> {
    node.data.as_mapping_get(key).filter(|value| !value.data.is_null())
}

/// Collects what is wrong while it reads.
struct Reader<'a> {
    source: &'a str,
    faults: &'a mut Faults,
}

impl Reader<'_> {
    fn fault(&mut self, node: &MarkedYaml<'_>, path: &str, message: impl Into<String>) {
        self.faults.push(Fault::new(self.source, message).at(position(&node.span.start)).path(path));
    }

    fn meta(&mut self, root: &MarkedYaml<'_>) -> Meta {
        let mut meta = Meta::default();
        if let Some(engine) = get(root, "engine_effective") {
            meta.limits = ProfiledLimits {
                max_num_batched_tokens: self.whole(engine, "max_num_batched_tokens"),
                max_num_seqs: self.whole(engine, "max_num_seqs"),
            };
        }
        let Some(skew_fit) = get(root, "skew_fit") else { return meta };
        if !self.flag(skew_fit, "enabled") {
            return meta;
        }
        meta.alpha_default = self.alpha_default(skew_fit).unwrap_or(0.0);
        let Some(per_tp) = get(skew_fit, "per_tp") else { return meta };
        let Some(entries) = per_tp.data.as_mapping() else {
            self.fault(per_tp, "skew_fit.per_tp", "not a mapping from degree to fit");
            return meta;
        };
        let block_axes = get(skew_fit, "bucket_axes").filter(|axes| !axes.data.is_empty_collection());
        for (key, entry) in entries {
            let number = key.data.as_integer().and_then(|tp| u64::try_from(tp).ok());
            let Some(tp) = number.or_else(|| key.data.as_str().and_then(|tp| tp.parse().ok())) else {
                self.fault(key, "skew_fit.per_tp", "not a tensor-parallel degree");
                continue;
            };
            // A degree with an empty entry has no fit of its own.
            if !entry.data.is_null() && !entry.data.is_empty_collection() {
                meta.fits.extend(self.fit(entry, block_axes).map(|fit| (tp, fit)));
            }
        }
        meta
    }

    fn fit(&mut self, entry: &MarkedYaml<'_>, block_axes: Option<&MarkedYaml<'_>>) -> Option<MetaFit> {
        if !entry.data.is_mapping() {
            self.fault(entry, "skew_fit.per_tp", "not a mapping");
            return None;
        }
        let alpha_default = self.alpha_default(entry).unwrap_or(0.0);
        let own_axes = get(entry, "bucket_axes").filter(|axes| !axes.data.is_empty_collection());
        let axes = match own_axes.or(block_axes) {
            Some(axes) => self.axes(axes)?,
            None => SkewAxes::default(),
        };
        let mut fit = SkewFit::new(axes, alpha_default);
        if let Some(inline) = get(entry, "alpha_by_bucket") {
            self.inline_buckets(inline, &mut fit);
        }
        let table = get(entry, "bucket_table").filter(|_| fit.is_empty()).and_then(|table| {
            let path = table.data.as_str();
            if path.is_none() {
                self.fault(table, "bucket_table", "not the name of a file");
            }
            path.map(PathBuf::from)
        });
        Some(MetaFit { fit, table })
    }

    fn inline_buckets(&mut self, inline: &MarkedYaml<'_>, fit: &mut SkewFit) {
        let path = "alpha_by_bucket";
        let Some(buckets) = inline.data.as_mapping() else {
            return self.fault(inline, path, "not a mapping from bucket to α");
        };
        for (key, alpha) in buckets {
            let Some(alpha) = number(alpha) else {
                self.fault(alpha, path, "α is not a finite number");
                continue;
            };
            if let Err(message) = fit.insert(key.data.as_str().unwrap_or_default(), alpha) {
                self.fault(key, path, message);
            }
        }
    }

    fn axes(&mut self, node: &MarkedYaml<'_>) -> Option<SkewAxes> {
        let axes = SkewAxes::NAMES.map(|name| self.axis(node, name));
        let [Some(n), Some(skew_rate), Some(kv_big), Some(kp)] = axes else { return None };
        Some(SkewAxes([n, skew_rate, kv_big, kp]))
    }

    fn axis(&mut self, node: &MarkedYaml<'_>, name: &str) -> Option<SkewAxis> {
        let text = |label: &MarkedYaml<'_>| label.data.as_str().map(str::to_owned);
        let bins = self.list(node, &format!("{name}_bins"), "finite numbers", number);
        let labels = self.list(node, &format!("{name}_labels"), "texts", text);
        match SkewAxis::new(&bins?, labels?) {
            Ok(axis) => Some(axis),
            Err(message) => {
                self.fault(node, &format!("bucket_axes.{name}_bins"), message);
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        node: &MarkedYaml<'_>,
        key: &str,
        items: &str,
        item: impl Fn(&MarkedYaml<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let value = get(node, key);
        let list = value.and_then(|value| value.data.as_sequence()?.iter().map(item).collect());
        if list.is_none() {
            self.fault(value.unwrap_or(node), &format!("bucket_axes.{key}"), format!("not a list of {items}"));
        }
        list
    }

    fn whole(&mut self, node: &MarkedYaml<'_>, key: &str) -> Option<u64> {
        let value = get(node, key)?;
        let whole = value.data.as_integer().and_then(|whole| u64::try_from(whole).ok());
        if whole.is_none() {
            self.fault(value, key, "not a whole number of 0 or more");
        }
        whole
    }

    fn flag(&mut self, node: &MarkedYaml<'_>, key: &str) -> bool {
        let Some(value) = get(node, key) else { return false };
        value.data.as_bool().unwrap_or_else(|| {
            self.fault(value, key, "neither true nor false");
            false
        })
    }

    fn alpha_default(&mut self, node: &MarkedYaml<'_>) -> Option<f64> {
        let value = get(node, "alpha_default")?;
        let alpha = number(value);
        if alpha.is_none() {
            self.fault(value, "alpha_default", "not a finite number");
        }
        alpha
    }
}

fn number(node: &MarkedYaml<'_>) -> Option<f64> {
    let whole = || node.data.as_integer().map(|whole| whole as f64);
    node.data.as_floating_point().or_else(whole).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::AttentionShape;

    const AXES: &str = "n_bins: [0, 2, 9], n_labels: [few, many], skew_rate_bins: [0, 1.5], skew_rate_labels: [any], \
                        kv_big_bins: [0, 1], kv_big_labels: [all], kp_bins: [-1, 0], kp_labels: [none]";

    fn faults(text: &str) -> String {
        let mut faults = Faults::new();
        Meta::read("meta.yaml", text, &mut faults);
        faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// α at degree 1 for a step of three decodes without prefill.
    fn alpha(text: &str) -> f64 {
        let mut faults = Faults::new();
        let meta = Meta::read("meta.yaml", text, &mut faults);
        assert!(faults.is_empty(), "{text}: {faults}");
        let shape = AttentionShape { num_decodes: 3, kv_decode_max: 4, kv_decode_mean: 2, ..Default::default() };
        meta.fits.get(&1).map_or(meta.alpha_default, |entry| entry.fit.alpha(&shape))
    }

    #[test]
    fn the_alpha_that_counts() {
        let check = |text: &str, expected: f64| assert_eq!(alpha(text), expected, "{text}");
        let own = "pc=0|many|any|all|none: 0.25";
        let default = "pc=0|n<=4|sr<=70%|kvB<=1k|kp=0: 0.125";
        check("a: b", 0.0);
        check("skew_fit: {enabled: false, alpha_default: 1}", 0.0);
        check("skew_fit: {enabled: true, alpha_default: 1}", 1.0);
        check("skew_fit: {enabled: true, alpha_default: 1, per_tp: {2: {alpha_default: 2}}}", 1.0);
        check("skew_fit: {enabled: true, alpha_default: 1, per_tp: {1: }}", 1.0);
        check("skew_fit: {enabled: true, alpha_default: 1, per_tp: {1: {alpha_default: 2.5}}}", 2.5);
        check("skew_fit: {enabled: true, per_tp: {'1': {alpha_default: 2}}}", 2.0);
        check(&format!("skew_fit: {{enabled: true, per_tp: {{1: {{alpha_by_bucket: {{{default}}}}}}}}}"), 0.125);
        check(
            &format!(
                "skew_fit: {{enabled: true, bucket_axes: {{{AXES}}}, per_tp: {{1: {{alpha_by_bucket: {{{own}}}}}}}}}"
            ),
            0.25,
        );
        check(
            &format!(
                "skew_fit: {{enabled: true, per_tp: {{1: {{bucket_axes: {{{AXES}}}, alpha_by_bucket: {{{own}}}}}}}}}"
            ),
            0.25,
        );
    }

    #[test]
    fn limits() {
        let meta = Meta::read("m", "engine_effective: {max_num_batched_tokens: 2048}", &mut Faults::new());
        assert_eq!(meta.limits, ProfiledLimits { max_num_batched_tokens: Some(2048), max_num_seqs: None });
    }

    #[test]
    fn buckets_in_a_file_count_when_none_are_inline() {
        let check = |entry: &str, expected: Option<&str>| {
            let text = format!("skew_fit: {{enabled: true, per_tp: {{1: {{{entry}}}}}}}");
            let meta = Meta::read("m", &text, &mut Faults::new());
            assert_eq!(meta.fits[&1].table.as_deref(), expected.map(Path::new), "{entry}");
        };
        check("bucket_table: tp1/skew_fit.csv", Some("tp1/skew_fit.csv"));
        check("bucket_table: t.csv, alpha_by_bucket: {}", Some("t.csv"));
        check("bucket_table: t.csv, alpha_by_bucket: {pc=0|n<=2|sr<=5%|kvB<=1k|kp=0: 0.1}", None);
    }

    #[test]
    fn what_is_wrong_is_placed() {
        let check = |text: &str, expected: &str| {
            let faults = faults(text);
            assert!(faults.contains(expected), "{text}: {faults}");
        };
        check("", "meta.yaml: there is no mapping");
        check("- 1", "meta.yaml: there is no mapping");
        check("a: [1", "meta.yaml:2:1: while parsing");
        check("engine_effective:\n  max_num_seqs: many", "meta.yaml:2:17 at max_num_seqs: not a whole number");
        check("skew_fit: {enabled: maybe}", "meta.yaml:1:21 at enabled: neither true nor false");
        let check_fit = |fit: &str, expected: &str| check(&format!("skew_fit:\n  enabled: true\n  {fit}"), expected);
        check_fit("alpha_default: x", ":3:18 at alpha_default: not a finite number");
        check_fit("alpha_default: .nan", ":3:18 at alpha_default: not a finite number");
        check_fit("per_tp: 3", ":3:11 at skew_fit.per_tp: not a mapping");
        check_fit("per_tp: {one: {alpha_default: 1}}", ":3:12 at skew_fit.per_tp: not a tensor-parallel degree");
        check_fit("per_tp: {1: 5}", ":3:15 at skew_fit.per_tp: not a mapping");
        check_fit("per_tp: {1: {bucket_table: 5}}", "bucket_table: not the name of a file");
        check_fit("per_tp: {1: {bucket_axes: {n_bins: 3}}}", "at bucket_axes.n_bins: not a list of finite numbers");
        check_fit("per_tp: {1: {bucket_axes: {n_bins: 3}}}", "at bucket_axes.kp_labels: not a list of texts");
        check_fit("per_tp: {1: {alpha_by_bucket: 3}}", "alpha_by_bucket: not a mapping");
        check_fit("per_tp: {1: {alpha_by_bucket: {pc=0: x}}}", "α is not a finite number");
        check_fit("per_tp: {1: {alpha_by_bucket: {pc=0: 1}}}", "no axis has the label ``");
        let axes = AXES.replace("[few, many]", "[few]");
        check_fit(&format!("per_tp: {{1: {{bucket_axes: {{{axes}}}}}}}"), "1 labels need 2 bins, and there are 3");
    }
}
