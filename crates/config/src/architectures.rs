//! Architecture files: the order in which a model family runs its layers, and the table each layer is measured in.
//!
//! `<folder>/<model_type>.yaml` has a `sequence` of six parts, each a list of layer names, and a `catalog` of four
//! tables, each a mapping from layer name to what a profiler needs to know; of that only `tp_stable` matters here.
//! Where the folder has no file for a family, the built-in one is used.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use diagnostics::{Fault, Faults, Position};
use documents::{Document, suggest};
use model::{Architecture, Layer, Model, Sequence, Table};
use saphyr::{LoadableYamlNode, MarkedYaml, Marker};

use crate::report::{PlaceFault, Report};
use crate::schema;

/// The architectures of one cluster's models, each read once.
pub(crate) struct Architectures {
    folder: Option<PathBuf>,
    read: BTreeMap<String, Option<Arc<Architecture>>>,
}

impl Architectures {
    /// Architectures from `folder`, if there is one, and the built-in ones.
    pub(crate) fn new(folder: Option<PathBuf>) -> Self {
        Self { folder, read: BTreeMap::new() }
    }

    /// The architecture of `model`. `at` places a fault where the model was named.
    pub(crate) fn get(&mut self, model: &Model, at: &PlaceFault<'_>, report: &mut Report) -> Option<Arc<Architecture>> {
        if !self.read.contains_key(&model.model_type) {
            let found = self.find(model, at, report).map(Arc::new);
            self.read.insert(model.model_type.clone(), found);
        }
        let architecture = self.read[&model.model_type].clone()?;
        let sequence = &architecture.sequence;
        let (kind, lacking) = match model.is_moe() {
            true => ("has experts", (!sequence.mlp_moe.contains(&Layer::Moe)).then_some("`moe` in `mlp_moe`")),
            false => ("has no experts", sequence.mlp_dense.is_empty().then_some("`mlp_dense`")),
        };
        if let Some(part) = lacking {
            let message = format!("{} {kind}, but the {} family has no {part}", model.name, model.model_type);
            report.push(at(message).hint("give the right `model_type` in the model's file"));
            return None;
        }
        Some(architecture)
    }

    fn find(&self, model: &Model, at: &PlaceFault<'_>, report: &mut Report) -> Option<Architecture> {
        let model_type = model.model_type.as_str();
        let file = self.folder.as_deref().map(|folder| folder.join(format!("{model_type}.yaml")));
        if let Some(file) = file.filter(|file| file.exists()) {
            let document = report.take(Document::read(&file))?;
            return Reader { document: &document, faults: Faults::new() }.read(model_type, &mut report.faults);
        }
        let built_in = Architecture::built_in(model_type);
        if built_in.is_none() {
            let message = format!("`{}` is of the unknown family `{model_type}`", model.name);
            let known = suggest::listed(Architecture::BUILT_IN);
            let hint = format!("known are {known}; others need a file {model_type}.yaml in --architecture-dir");
            report.push(at(message).hint(hint));
        }
        built_in
    }
}

type Yaml<'y> = MarkedYaml<'y>;

/// The four tables, by name.
const TABLES: &[(&str, Table)] = &[
    ("dense", Table::Dense),
    ("per_sequence", Table::PerSequence),
    ("attention", Table::Attention),
    ("moe", Table::Moe),
];

struct Reader<'d> {
    document: &'d Document,
    faults: Faults,
}

impl Reader<'_> {
    fn read(mut self, model_type: &str, faults: &mut Faults) -> Option<Architecture> {
        let architecture = self.architecture(model_type);
        let is_sound = self.faults.is_empty();
        faults.extend(self.faults);
        architecture.filter(|_| is_sound)
    }

    fn architecture(&mut self, model_type: &str) -> Option<Architecture> {
        let roots = match Yaml::load_from_str(&self.document.text) {
            Ok(roots) => roots,
            Err(error) => {
                let at = position(error.marker());
                let message = format!("not YAML: {}", error.info());
                self.faults.push(Fault::new(self.document.name.as_str(), message).at(at));
                return None;
            }
        };
        let Some(root) = roots.first() else {
            self.faults.push(Fault::new(self.document.name.as_str(), "the file is empty"));
            return None;
        };
        let fields = self.mapping(root, "$", Some(&["sequence", "catalog"]));
        let [sequence, catalog] =
            ["sequence", "catalog"].map(|key| fields.iter().find(|(name, _)| *name == key).map(|(_, value)| *value));
        for (key, value) in [("sequence", sequence), ("catalog", catalog)] {
            if value.is_none() {
                self.push(root, "$", format!("missing key `{key}`"), None);
            }
        }
        let catalog = self.catalog(catalog?);
        let sequence = self.sequence(sequence?, &catalog);
        Some(Architecture::new(model_type, sequence, catalog))
    }

    fn catalog(&mut self, catalog: &Yaml<'_>) -> Vec<(Layer, Table, bool)> {
        let mut layers: Vec<(Layer, Table, bool)> = Vec::new();
        for (table_name, entries) in self.mapping(catalog, "$.catalog", Some(&schema::TABLES.names())) {
            let Some(&(_, table)) = TABLES.iter().find(|(name, _)| *name == table_name) else { continue };
            let path = format!("$.catalog.{table_name}");
            for (name, entry) in self.mapping(entries, &path, None) {
                let path = format!("{path}.{name}");
                let Some(layer) = self.layer(name, entry, &path) else { continue };
                if layers.iter().any(|&(known, _, _)| known == layer) {
                    self.push(entry, &path, format!("layer `{name}` is in two tables"), None);
                }
                // The tables of attention and experts have axes of their own, which no other layer has a shape for.
                for (only, its_table) in [(Layer::Attention, Table::Attention), (Layer::Moe, Table::Moe)] {
                    if (layer == only) != (table == its_table) {
                        let message = format!("layer `{name}` can't be in table `{table_name}`");
                        self.push(entry, &path, message, None);
                    }
                }
                let tp_stable = self.tp_stable(entry, &path);
                layers.push((layer, table, tp_stable));
            }
        }
        layers
    }

    fn tp_stable(&mut self, entry: &Yaml<'_>, path: &str) -> bool {
        let Some(value) = entry.data.as_mapping_get("tp_stable") else { return false };
        let switch = value.data.as_bool();
        if switch.is_none() {
            self.push(value, &format!("{path}.tp_stable"), "expected `true` or `false`".to_owned(), None);
        }
        switch.unwrap_or_default()
    }

    fn sequence(&mut self, sequence: &Yaml<'_>, catalog: &[(Layer, Table, bool)]) -> Sequence {
        let mut layers = Sequence::default();
        for (part, value) in self.mapping(sequence, "$.sequence", Some(&schema::SEQUENCE_PARTS.names())) {
            let names = self.part(value, &format!("$.sequence.{part}"), catalog);
            match part {
                "prologue" => layers.prologue = names,
                "pre_attn" => layers.pre_attn = names,
                "post_attn" => layers.post_attn = names,
                "mlp_dense" => layers.mlp_dense = names,
                "mlp_moe" => layers.mlp_moe = names,
                "head" => layers.head = names,
                // Told by `mapping` already.
                _ => {}
            }
        }
        // A block has one attention; experts, if any, are all its feed-forward part has of them.
        for (layer, part_name, part, least) in
            [(Layer::Attention, "pre_attn", &layers.pre_attn, 1), (Layer::Moe, "mlp_moe", &layers.mlp_moe, 0)]
        {
            let [inside, in_all] = [
                part.iter().filter(|&&other| other == layer).count(),
                layers.layers().filter(|&other| other == layer).count(),
            ];
            if inside != in_all || !(least..=1).contains(&in_all) {
                let message = format!("`{layer}` runs once, in `{part_name}`");
                self.push(sequence, "$.sequence", message, None);
            }
        }
        layers
    }

    fn part(&mut self, value: &Yaml<'_>, path: &str, catalog: &[(Layer, Table, bool)]) -> Vec<Layer> {
        let Some(names) = value.data.as_vec() else {
            self.push(value, path, "expected a list of layer names".to_owned(), None);
            return Vec::new();
        };
        let mut layers = Vec::new();
        for (index, value) in names.iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Some(name) = value.data.as_str() else {
                self.push(value, &path, "expected a layer name".to_owned(), None);
                continue;
            };
            let Some(layer) = self.layer(name, value, &path) else { continue };
            if !catalog.iter().any(|&(known, _, _)| known == layer) {
                let hint = "name the table it is measured in under `catalog`".to_owned();
                self.push(value, &path, format!("layer `{name}` is not in the catalog"), Some(hint));
            }
            layers.push(layer);
        }
        layers
    }

    fn layer(&mut self, name: &str, at: &Yaml<'_>, path: &str) -> Option<Layer> {
        let layer = Layer::from_str(name).ok();
        if layer.is_none() {
            let names: Vec<_> = Layer::ALL.iter().map(|layer| layer.name()).collect();
            self.push(at, path, format!("unknown layer `{name}`"), Some(suggest::hint(name, &names)));
        }
        layer
    }

    /// The entries of a mapping, those outside `known` told as faults. A value of nothing is an empty mapping.
    fn mapping<'y>(&mut self, value: &'y Yaml<'y>, path: &str, known: Option<&[&str]>) -> Vec<(&'y str, &'y Yaml<'y>)> {
        if value.data.is_null() {
            return Vec::new();
        }
        let Some(mapping) = value.data.as_mapping() else {
            self.push(value, path, "expected a mapping".to_owned(), None);
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (key, value) in mapping {
            let Some(name) = key.data.as_str() else {
                self.push(key, path, "expected a name as the key".to_owned(), None);
                continue;
            };
            if let Some(known) = known.filter(|known| !known.contains(&name)) {
                let hint = suggest::hint(name, known);
                self.push(key, &format!("{path}.{name}"), format!("unknown key `{name}`"), Some(hint));
            }
            entries.push((name, value));
        }
        entries
    }

    fn push(&mut self, at: &Yaml<'_>, path: &str, message: String, hint: Option<String>) {
        let mut fault = Fault::new(self.document.name.as_str(), message).at(position(&at.span.start)).path(path);
        fault.hint = hint;
        self.faults.push(fault);
    }
}

fn position(marker: &Marker) -> Position {
    // Lines count from 1 there, columns from 0.
    Position { line: marker.line(), column: marker.col() + 1 }
}
