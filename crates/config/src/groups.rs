//! Which instances step together, and the topology they share.
//!
//! A data-parallel group is a grid of `tp × members` NPUs, tensor parallelism inside an instance, data parallelism
//! across; a lone instance is a row of `tp`. Trailing dimensions of one NPU are dropped. Tensor-parallel collectives
//! involve the first dimension. Expert-parallel ones involve the first when the experts' ranks fit in one instance, the
//! second when each instance is a single NPU, both otherwise (behaviour contract, section 2).

use std::sync::Arc;

use diagnostics::Faults;
use model::Model;
use network::{DimMask, Dimension, Topology};

use crate::cluster::{Instance, LinkSetting, Shared};
use crate::json::{Place, Placed};
use crate::parallelism::Degrees;
use crate::settings::Settings;

/// One instance as far as its group must know it.
pub(crate) struct Member<'c> {
    /// Its part of the cluster file.
    pub(crate) instance: &'c Instance,
    /// What it serves.
    pub(crate) model: Arc<Model>,
    /// Its degrees.
    pub(crate) degrees: Degrees,
    /// How it runs.
    pub(crate) settings: Settings,
}

/// A data-parallel group, or one instance by itself.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name in the cluster file.
    pub(crate) name: Option<String>,
    /// Indices of its members, ascending.
    pub(crate) members: Vec<usize>,
    /// NPUs along each dimension, innermost first.
    pub(crate) dims: Vec<u32>,
    /// Expert-parallel ranks of one member.
    pub(crate) local_ep: u32,
    /// Dimensions of tensor-parallel collectives.
    pub(crate) tp_dims: DimMask,
    /// Dimensions of expert-parallel collectives.
    pub(crate) ep_dims: DimMask,
}

/// The groups of `members`, in order of their first members. Those that can't step together are told in `faults`.
pub(crate) fn form(members: &[Member<'_>], faults: &mut Faults) -> Vec<Group> {
    let mut named: Vec<(Option<&str>, Vec<usize>)> = Vec::new();
    for (index, member) in members.iter().enumerate() {
        let name = member.instance.dp_group.as_ref().map(|group| group.value.as_str());
        match named.iter_mut().find(|(known, _)| name.is_some() && *known == name) {
            Some((_, indices)) => indices.push(index),
            None => named.push((name, vec![index])),
        }
    }
    named.into_iter().filter_map(|(name, indices)| group(name, indices, members, faults)).collect()
}

fn group(name: Option<&str>, indices: Vec<usize>, members: &[Member<'_>], faults: &mut Faults) -> Option<Group> {
    let first = &members[indices[0]];
    if let Some(name) = name {
        check_agreement(name, &indices, members, faults)?;
    }
    let Degrees { tp, ep } = first.degrees;
    let size = u32::try_from(indices.len()).ok()?;
    let local_ep = if first.model.is_moe() { ep / size } else { 1 };
    if first.model.is_moe() && (!ep.is_multiple_of(size) || local_ep > tp) {
        let instances = if size == 1 { "instance" } else { "instances" };
        let ranks = format!("dp_group {} of {size} {instances}", name.unwrap_or_default());
        let message = if !ep.is_multiple_of(size) {
            format!("ep_size {ep} can't be spread evenly over the {ranks}")
        } else {
            format!("ep_size {ep} puts {local_ep} expert ranks on each instance of tp_size {tp} in the {ranks}")
        };
        let place = first.instance.ep_size.as_ref().map_or(&first.instance.place, |ep| &ep.place);
        let hint =
            format!("it is the total over the group: {} puts one rank on each NPU", u64::from(tp) * u64::from(size));
        faults.push(place.fault(message).hint(hint));
        return None;
    }
    let mut dims = vec![tp, size];
    if size == 1 {
        dims.pop();
    }
    let ep_dims: &[bool] = match (ep > tp, tp > 1) {
        (false, _) => &[true, false],
        (true, true) => &[true, true],
        (true, false) => &[false, true],
    };
    let mask = |involved: &[bool]| DimMask::new(&involved[..dims.len()]);
    let (tp_dims, ep_dims) = (mask(&[true, false]), mask(ep_dims));
    Some(Group { name: name.map(str::to_owned), members: indices, dims, local_ep, tp_dims, ep_dims })
}

/// Members run the same collectives with the same bytes, so they must agree on whatever those depend on.
fn check_agreement(name: &str, indices: &[usize], members: &[Member<'_>], faults: &mut Faults) -> Option<()> {
    let first = &members[indices[0]];
    let before = faults.iter().count();
    for &index in &indices[1..] {
        let other = &members[index];
        let instance = other.instance;
        let degree_place = |degree: &Option<Placed<u64>>| {
            degree.as_ref().map_or_else(|| instance.place.clone(), |degree| degree.place.clone())
        };
        let mut differ = |what: &str, place: Place, theirs: String, ours: String| {
            if theirs != ours {
                let message = format!("{what} {ours}, but dp_group {name} begins with {what} {theirs}");
                faults.push(place.fault(message).hint("the members of a group must agree on it"));
            }
        };
        differ("model", instance.model_name.place.clone(), first.model.name.clone(), other.model.name.clone());
        let (theirs, ours) = (first.degrees, other.degrees);
        differ("tp_size", degree_place(&instance.tp_size), theirs.tp.to_string(), ours.tp.to_string());
        differ("ep_size", degree_place(&instance.ep_size), theirs.ep.to_string(), ours.ep.to_string());
        let dtype = |member: &Member<'_>| member.settings.dtype.name().to_owned();
        differ("dtype", instance.place.clone(), dtype(first), dtype(other));
    }
    (faults.iter().count() == before).then_some(())
}

/// How many dimensions lists of link settings must have: those of the widest group, or, when there are no
/// data-parallel groups, those of the grid of `NPUs per instance × instances` that LLMServingSim lays all out on.
pub(crate) fn num_link_dims(groups: &[Group]) -> usize {
    let in_groups = groups.iter().map(|group| group.dims.len()).max().unwrap_or(1);
    let all_lone = groups.iter().all(|group| group.name.is_none());
    if all_lone && groups.len() > 1 { 2 } else { in_groups }
}

/// Checks the number of link settings against the number of dimensions.
pub(crate) fn check_links(shared: &Shared, num_dims: usize, faults: &mut Faults) {
    for (key, setting) in [("link_bw", &shared.link_bandwidth), ("link_latency", &shared.link_latency)] {
        if let Some(given) = setting.num_dims().filter(|&given| given != num_dims) {
            let dimensions = if num_dims == 1 { "1 dimension".to_owned() } else { format!("{num_dims} dimensions") };
            let message = format!("`{key}` has {given} values, but the topology has {dimensions}");
            let hint = "write one value for all dimensions, or a list with one for each, innermost first";
            faults.push(setting.place.fault(message).hint(hint));
        }
    }
}

/// The links between the NPUs of `group`.
pub(crate) fn topology(group: &Group, bandwidth: &LinkSetting, latency: &LinkSetting) -> Topology {
    let dimension =
        |(dim, &npus)| Dimension { npus, bandwidth_gib_per_s: bandwidth.at(dim), latency_ns: latency.at(dim) };
    Topology::new(group.dims.iter().enumerate().map(dimension).collect())
}
