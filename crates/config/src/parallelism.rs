//! Parallel degrees of one instance: what its keys leave out is inferred, what can't be is refused.
//!
//! `num_npus = tp_size * pp_size`, and `ep_size` is `tp_size` for a mixture of experts, 1 for a dense model, unless
//! given (behaviour contract, section 2). A tensor-parallel degree must divide the attention heads, as in vLLM's
//! `ModelConfig.verify_with_parallel_config`, and every pipeline stage needs a block.

use diagnostics::Faults;
use documents::json::{Place, Placed};
use model::Model;

use crate::cluster::MOST;
use crate::instances::Instance;

/// The degrees of one instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Degrees {
    /// Tensor-parallel degree.
    pub(crate) tp: u32,
    /// Pipeline stages.
    pub(crate) pp: u32,
    /// Expert-parallel degree over the whole group.
    pub(crate) ep: u32,
}

impl Degrees {
    /// NPUs that compute.
    pub(crate) fn num_npus(self) -> u32 {
        self.tp * self.pp
    }
}

/// The degrees of `instance`, which serves `model`; `None` when they don't fit.
pub(crate) fn resolve(instance: &Instance, model: &Model, faults: &mut Faults) -> Option<Degrees> {
    let (tp, pp) = tensor_and_pipeline(instance, faults)?;
    let npus_place = place_of(instance, [&instance.num_npus, &instance.pp_size, &instance.tp_size]);
    if tp * pp > MOST {
        let message = format!("tp_size {tp} × pp_size {pp} makes more than {MOST} NPUs");
        faults.push(npus_place.fault(message));
        return None;
    }
    let heads = model.num_attention_heads;
    if !heads.is_multiple_of(tp) {
        let message = format!("tp_size {tp} does not divide {heads} attention heads");
        let place = place_of(instance, [&instance.tp_size, &instance.num_npus, &None]);
        faults.push(place.fault(message).hint(divisors_hint(heads)));
        return None;
    }
    let blocks = model.num_hidden_layers;
    if pp > blocks {
        let message = format!("pp_size {pp} exceeds the {blocks} blocks of {}", model.name);
        let place = place_of(instance, [&instance.pp_size, &instance.num_npus, &None]);
        faults.push(place.fault(message).hint("every stage needs a block"));
        return None;
    }
    let ep = expert_parallel(instance, model, tp, faults)?;
    Some(Degrees { tp: u32::try_from(tp).ok()?, pp: u32::try_from(pp).ok()?, ep: u32::try_from(ep).ok()? })
}

/// Where the first of `keys` that is given stands.
fn place_of<'i>(instance: &'i Instance, keys: [&'i Option<Placed<u64>>; 3]) -> &'i Place {
    keys.into_iter().flatten().next().map_or(&instance.place, |degree| &degree.place)
}

/// The tensor-parallel degree, and pipeline stages.
fn tensor_and_pipeline(instance: &Instance, faults: &mut Faults) -> Option<(u64, u64)> {
    let stages = instance.pp_size.as_ref().map_or(1, |pp| pp.value);
    match (&instance.num_npus, &instance.tp_size) {
        (None, None) => Some((1, stages)),
        (None, Some(tp)) => Some((tp.value, stages)),
        (Some(npus), None) if npus.value.is_multiple_of(stages) => Some((npus.value / stages, stages)),
        (Some(npus), None) => uneven(npus, "pp_size", stages, faults),
        (Some(npus), Some(tp)) if !npus.value.is_multiple_of(tp.value) => uneven(npus, "tp_size", tp.value, faults),
        (Some(npus), Some(tp)) => {
            let inferred = npus.value / tp.value;
            if stages != 1 && stages != inferred {
                let message = format!("num_npus {} is not tp_size {} × pp_size {stages}", npus.value, tp.value);
                faults.push(npus.place.fault(message).hint(format!("write {}", tp.value * stages)));
                return None;
            }
            Some((tp.value, inferred))
        }
    }
}

fn uneven(npus: &Placed<u64>, key: &str, degree: u64, faults: &mut Faults) -> Option<(u64, u64)> {
    let message = format!("num_npus {} is not a multiple of {key} {degree}", npus.value);
    let hint = format!("leave `num_npus` out, or write a multiple of {degree}");
    faults.push(npus.place.fault(message).hint(hint));
    None
}

fn expert_parallel(instance: &Instance, model: &Model, tp: u64, faults: &mut Faults) -> Option<u64> {
    let place = instance.ep_size.as_ref().map_or(&instance.place, |ep| &ep.place);
    let Some(experts) = model.experts else {
        let ep = instance.ep_size.as_ref().map_or(1, |ep| ep.value);
        if ep != 1 {
            let message = format!("ep_size {ep}, but {} has no experts", model.name);
            faults.push(place.fault(message).hint("remove `ep_size`"));
            return None;
        }
        return Some(1);
    };
    let ep = instance.ep_size.as_ref().map_or(tp, |ep| ep.value);
    if instance.dp_group.is_none() && ep > tp {
        let message = format!("ep_size {ep} > tp_size {tp} needs a dp_group");
        let hint = format!("put the instances that share the experts in one dp_group, or use at most {tp}");
        faults.push(place.fault(message).hint(hint));
        return None;
    }
    let experts = u64::from(experts.count);
    if !experts.is_multiple_of(ep) {
        let message = format!("ep_size {ep} does not divide {experts} experts");
        faults.push(place.fault(message).hint(divisors_hint(experts)));
        return None;
    }
    Some(ep)
}

/// `1, 2, 4, 8, … do`: the first few divisors.
fn divisors_hint(number: u64) -> String {
    const SHOWN: usize = 6;
    /// Larger degrees are of no use.
    const MOST: u64 = 4096;
    let divisors: Vec<_> =
        (1..=number.min(MOST)).filter(|divisor| number.is_multiple_of(*divisor)).take(SHOWN + 1).collect();
    let shown: Vec<_> = divisors.iter().take(SHOWN).map(u64::to_string).collect();
    let more = if divisors.len() > SHOWN { ", …" } else { "" };
    format!("{}{more} do", shown.join(", "))
}
