//! `servingsim profile`: measured bundles and the analytic model.

use std::io::{self, Write};

use config::ModelFiles;
use diagnostics::{Fault, Faults};
use latency::fit::{Measured, fit};
use latency::{Bundle, BundleName, Catalogue, GpuConstants, compare, read_samples_with};
use model::{Architecture, Dtype, KvCacheDtype, Model};

use crate::Failure;
use crate::args::{BundleArgs, ProfileCommand, ProfileCompareArgs, ProfileFitArgs};
use crate::parquet;

pub(crate) fn profile(command: &ProfileCommand) -> Result<(), Failure> {
    match command {
        ProfileCommand::Fit(args) => fit_constants(args),
        ProfileCommand::Compare(args) => compare_constants(args),
    }
}

fn fit_constants(args: &ProfileFitArgs) -> Result<(), Failure> {
    let hardware = &args.bundles.hardware;
    let num_sms = args.num_sms.map_or_else(|| GpuConstants::known_sms(hardware), |num_sms| Some(num_sms.get()));
    let num_sms = num_sms.ok_or_else(|| {
        let fault = Fault::new("--num-sms", format!("it is not known how many multiprocessors {hardware} has"));
        fault.hint("give their number, as nvidia-smi or the vendor's data sheet tells it")
    })?;
    let bundles = bundles(&args.bundles)?;
    let measured: Vec<Measured<'_>> = bundles.iter().map(MeasuredBundle::measured).collect();
    let constants = fit(hardware, num_sms, &measured).to_string();
    match &args.output {
        None => write!(io::stdout(), "{constants}")?,
        Some(path) => {
            let mut file = report::AtomicFile::create(path)?;
            let unwritable =
                |error: io::Error| Fault::new(path.display().to_string(), format!("can't be written: {error}"));
            file.write_all(constants.as_bytes()).map_err(unwritable)?;
            file.commit()?;
        }
    }
    Ok(())
}

fn compare_constants(args: &ProfileCompareArgs) -> Result<(), Failure> {
    let hardware = &args.bundles.hardware;
    let constants = match &args.gpu_constants {
        Some(path) => {
            let name = path.display().to_string();
            let text =
                std::fs::read_to_string(path).map_err(|error| Fault::new(&name, format!("can't be read: {error}")))?;
            GpuConstants::parse(&name, &text)?
        }
        None => GpuConstants::shipped(hardware).ok_or_else(|| {
            let fault = Fault::new("--hardware", format!("no constants ship for {hardware}"));
            fault.hint("fit some with `servingsim profile fit` and name the file with --gpu-constants")
        })?,
    };
    let mut out = io::stdout().lock();
    for bundle in &bundles(&args.bundles)? {
        let measured = bundle.measured();
        let comparison = compare::compare(&measured.samples, &measured.analytic(constants.clone()));
        writeln!(out, "{} tp{}\n{comparison}", bundle.name, bundle.tp)?;
    }
    Ok(())
}

/// What was measured of one model at one tensor-parallel degree.
struct MeasuredBundle {
    name: BundleName,
    tp: u64,
    model: Model,
    architecture: Architecture,
    dtype: Dtype,
    kv_cache_dtype: KvCacheDtype,
    samples: Vec<latency::Sample>,
}

impl MeasuredBundle {
    fn measured(&self) -> Measured<'_> {
        Measured {
            model: &self.model,
            architecture: &self.architecture,
            tp: self.tp,
            dtype: self.dtype,
            kv_cache_dtype: self.kv_cache_dtype,
            samples: self.samples.clone(),
        }
    }
}

/// Every bundle of the GPU, at every degree.
fn bundles(args: &BundleArgs) -> Result<Vec<MeasuredBundle>, Faults> {
    let dir = args.dirs.profile_dir.as_ref().ok_or_else(|| {
        Fault::new("--profile-dir", "is needed").hint("name the folder of profiles, or set SERVINGSIM_PROFILE_DIR")
    })?;
    let catalogue = Catalogue::scan(dir)?;
    let mut files = ModelFiles::new(args.dirs.model_dir.clone(), args.dirs.architecture_dir.clone());
    let mut faults = Faults::new();
    let mut bundles = Vec::new();
    for name in catalogue.names().iter().filter(|name| name.hardware == args.hardware) {
        match read_bundle(&catalogue, name, &mut files) {
            Ok(degrees) => bundles.extend(degrees),
            Err(more) => faults.extend(parquet::place_rows(more)),
        }
    }
    if bundles.is_empty() && faults.is_empty() {
        let mut known: Vec<&str> = catalogue.names().iter().map(|name| name.hardware.as_str()).collect();
        known.dedup();
        let fault = Fault::new(dir.display().to_string(), format!("no profiles of {}", args.hardware));
        faults.push(fault.hint(format!("there are some of {}", known.join(", "))));
    }
    faults.into_result(bundles)
}

fn read_bundle(
    catalogue: &Catalogue,
    name: &BundleName,
    files: &mut ModelFiles,
) -> Result<Vec<MeasuredBundle>, Faults> {
    let dir = catalogue.find(name)?;
    let (model, architecture) = files.get(&name.model)?;
    let (dtype, kv_cache_dtype) = element_types(&name.variant)
        .ok_or_else(|| Fault::new(dir.display().to_string(), format!("`{}` names no element types", name.variant)))?;
    let read_degree = |tp| {
        Ok(MeasuredBundle {
            name: name.clone(),
            tp,
            model: model.clone(),
            architecture: architecture.clone(),
            dtype,
            kv_cache_dtype,
            samples: read_samples_with(&dir, tp, Some(parquet::TABLES))?,
        })
    };
    Bundle::load_with(&dir, Some(parquet::TABLES))?.tp_degrees().map(read_degree).collect()
}

/// The element types that a variant folder is named after.
fn element_types(variant: &str) -> Option<(Dtype, KvCacheDtype)> {
    let kv_cache_dtypes = [KvCacheDtype::Auto, KvCacheDtype::Fp8];
    let pairs = Dtype::ALL.iter().flat_map(|&dtype| kv_cache_dtypes.map(|kv_cache_dtype| (dtype, kv_cache_dtype)));
    pairs.into_iter().find(|&(dtype, kv_cache_dtype)| kv_cache_dtype.profile_variant(dtype) == variant)
}
