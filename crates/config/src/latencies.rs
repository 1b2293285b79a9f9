//! Where operator times come from: a profile of the model on the hardware, or the analytic model of the hardware.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use diagnostics::Fault;
use documents::{Document, suggest};
use latency::{Analytic, Bundle, BundleName, Catalogue, GpuConstants, NoProfile, OpLatency, OtherTables, Profile};
use model::{Architecture, Model};

use crate::instances::Instance;
use crate::parallelism::Degrees;
use crate::report::Report;
use crate::settings::Settings;

/// Where operator times shall come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LatencySource {
    /// A profile where there is one, else the analytic model.
    #[default]
    Auto,
    /// A profile, which must be there.
    Profile,
    /// The analytic model.
    Analytic,
}

/// Where the operator times of an instance came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatencyUsed {
    /// A profile.
    Profile,
    /// The analytic model.
    Analytic,
}

/// The latency sources of one cluster, each read once, and of bundles only the tables that are asked for.
pub(crate) struct Latencies {
    source: LatencySource,
    catalogue: Option<Catalogue>,
    /// Tables of profiles in another format.
    other_tables: Option<OtherTables>,
    constants: Option<GpuConstants>,
    bundles: BTreeMap<BundleName, Option<Bundle>>,
    /// By bundle, tensor-parallel degree and family.
    profiles: BTreeMap<(BundleName, u32, String), Option<Arc<Profile>>>,
}

impl Latencies {
    /// Sources under `profile_dir`, and analytic ones with the constants in `gpu_constants` or those shipped.
    pub(crate) fn new(
        source: LatencySource,
        profile_dir: Option<&Path>,
        gpu_constants: Option<&Path>,
        report: &mut Report,
    ) -> Self {
        let catalogue = profile_dir.and_then(|dir| report.take(Catalogue::scan(dir)));
        if source == LatencySource::Profile && profile_dir.is_none() {
            let fault = Fault::new("--profile-dir", "profiles are asked for, but no folder of them is given");
            report.push(fault.hint("name the folder of profiles, or set SERVINGSIM_PROFILE_DIR"));
        }
        let constants = gpu_constants.and_then(|file| {
            let document = report.take(Document::read(file))?;
            report.take(GpuConstants::parse(&document.name, &document.text))
        });
        Self { source, catalogue, other_tables: None, constants, bundles: BTreeMap::new(), profiles: BTreeMap::new() }
    }

    /// The same sources, with tables of profiles in another format too.
    pub(crate) fn with_tables(self, other_tables: Option<OtherTables>) -> Self {
        Self { other_tables, ..self }
    }

    /// The operator times of one instance.
    pub(crate) fn get(
        &mut self,
        instance: &Instance,
        model: &Model,
        architecture: &Architecture,
        degrees: Degrees,
        settings: &Settings,
        report: &mut Report,
    ) -> Option<(Arc<dyn OpLatency>, LatencyUsed)> {
        let name = BundleName {
            hardware: instance.hardware.value.clone(),
            model: model.name.clone(),
            variant: settings.kv_cache_dtype.profile_variant(settings.dtype),
        };
        if self.source != LatencySource::Analytic
            && let Some(profile) = self.profile(&name, architecture, degrees.tp, report)?
        {
            self.note_limits(&name, settings, report);
            return Some((profile, LatencyUsed::Profile));
        }
        let constants = self.constants(instance, report)?;
        let (dtype, kv_dtype) = (settings.dtype, settings.kv_cache_dtype);
        let analytic = Analytic::new(model, architecture, u64::from(degrees.tp), dtype, kv_dtype, constants);
        Some((Arc::new(analytic), LatencyUsed::Analytic))
    }

    /// Streaming multiprocessors of `hardware`, where they are known.
    pub(crate) fn num_sms(&self, hardware: &str) -> Option<u64> {
        let given = self.constants.as_ref().filter(|constants| constants.hardware == hardware);
        given.map(|constants| constants.num_sms).or_else(|| GpuConstants::known_sms(hardware))
    }

    /// The profile called `name`. `None` when it can't be used, `Some(None)` when the analytic model shall stand in.
    fn profile(
        &mut self,
        name: &BundleName,
        architecture: &Architecture,
        tp: u32,
        report: &mut Report,
    ) -> Option<Option<Arc<Profile>>> {
        let key = (name.clone(), tp, architecture.model_type.clone());
        if let Some(profile) = self.profiles.get(&key) {
            return match profile {
                None if self.source == LatencySource::Profile => None,
                profile => Some(profile.clone()),
            };
        }
        let bundle = match self.catalogue.as_ref().map(|catalogue| catalogue.find(name)) {
            Some(Ok(dir)) => {
                let open = || report.take(Bundle::open_with(&dir, self.other_tables));
                let bundle = self.bundles.entry(name.clone()).or_insert_with(open).as_mut()?;
                match bundle.at(architecture, u64::from(tp)) {
                    Ok(profile) => Ok(profile),
                    Err(NoProfile::Absent(fault)) => {
                        Err(Fault { message: format!("{name}: {}", fault.message), ..fault })
                    }
                    Err(NoProfile::Faulty(faults)) => {
                        report.faults.extend(faults);
                        return None;
                    }
                }
            }
            Some(Err(absent)) => Err(absent),
            // That there is no folder is told where it was looked for.
            None if self.source == LatencySource::Profile => return None,
            None => Err(Fault::new(String::new(), format!("no profile for {name}"))),
        };
        let profile = bundle.map(Arc::new).map_err(|absent| self.tell_absence(absent, report)).ok();
        if let Some(missing) =
            profile.as_ref().map(|profile| profile.missing_layers()).filter(|layers| !layers.is_empty())
        {
            let layers: Vec<_> = missing.iter().map(|layer| layer.name()).collect();
            report.note(format!("{name}: no times for {}, which therefore take none", layers.join(", ")));
        }
        self.profiles.insert(key, profile.clone());
        match profile {
            None if self.source == LatencySource::Profile => None,
            profile => Some(profile),
        }
    }

    fn tell_absence(&self, absent: Fault, report: &mut Report) {
        match self.source {
            LatencySource::Profile => report.push(absent),
            _ => report.note(format!("{}: the analytic model stands in", absent.message)),
        }
    }

    /// Beyond what was profiled, times are extrapolated; that is worth knowing.
    fn note_limits(&self, name: &BundleName, settings: &Settings, report: &mut Report) {
        let Some(Some(bundle)) = self.bundles.get(name) else { return };
        let profiled = bundle.profiled_limits();
        let scheduler = &settings.scheduler;
        for (limit, set, profiled) in [
            ("max_num_batched_tokens", Some(scheduler.max_num_batched_tokens), profiled.max_num_batched_tokens),
            ("max_num_seqs", scheduler.max_num_seqs, profiled.max_num_seqs),
        ] {
            let Some(profiled) = profiled else { continue };
            if set.is_none_or(|set| set > profiled) {
                let set = set.map_or("unlimited".to_owned(), |set| set.to_string());
                report.note(format!(
                    "{name}: {limit} {set} exceeds the {profiled} profiled; times beyond are extrapolated"
                ));
            }
        }
    }

    fn constants(&self, instance: &Instance, report: &mut Report) -> Option<GpuConstants> {
        let hardware = &instance.hardware;
        let given = self.constants.as_ref().filter(|constants| constants.hardware == hardware.value);
        if given.is_some() {
            return given.cloned();
        }
        if let Some(shipped) = GpuConstants::shipped(&hardware.value) {
            if let Some(other) = &self.constants {
                let given = &other.hardware;
                report.note(format!("{}: the constants given are those of {given}; its own are used", hardware.value));
            }
            return Some(shipped);
        }
        let mut known: Vec<String> = GpuConstants::all_shipped().map(|constants| constants.hardware).collect();
        known.extend(self.constants.as_ref().map(|constants| constants.hardware.clone()));
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let message = format!("no profile and no GPU constants for the hardware `{}`", hardware.value);
        let hint = format!(
            "constants are known for {}; for others give --gpu-constants, as `servingsim profile fit` writes them, or \
             measured profiles with --profile-dir",
            suggest::listed(&known)
        );
        report.push(hardware.place.fault(message).hint(hint));
        None
    }
}
