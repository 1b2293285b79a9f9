//! Which instances step together, and the topology they share.
//!
//! A data-parallel group is a grid of `tp × pp × members` NPUs: tensor parallelism inside a pipeline stage, stages
//! inside an instance, data parallelism across; vLLM's rank order. The dimension of stages is there when any group of
//! the cluster has several. Tensor-parallel collectives involve the first dimension. Expert-parallel ones involve the
//! first when the experts' ranks fit in one stage, that of the members when a stage is a single NPU, both otherwise,
//! and never that of the stages (behaviour contract, section 2).
//!
//! A lone instance has a grid of its own, in which each message crosses the dimension that it crosses in the one grid
//! that LLMServingSim lays all lone instances out on: `NPUs per instance × instances` when none is tensor-parallel, so
//! that stages are neighbours in the first dimension, else `tp × stages of all instances`. The peers of a prefill
//! instance count as another instance. Trailing dimensions of one NPU are dropped.

use std::sync::Arc;

use diagnostics::Faults;
use documents::json::{Place, Placed};
use engine::Role;
use model::Model;
use network::{DimMask, Dimension, Topology};

use crate::cluster::{LinkSetting, Shared};
use crate::instances::Instance;
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

/// What decides over the shape of topologies in one cluster.
#[derive(Clone, Copy)]
struct Layout {
    /// Whether groups have a dimension of pipeline stages.
    groups_have_stages: bool,
    /// Whether the NPUs of a lone instance are all in the first dimension.
    lone_is_a_row: bool,
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
    let layout = Layout {
        groups_have_stages: members.iter().any(|member| member.instance.dp_group.is_some() && member.degrees.pp > 1),
        lone_is_a_row: is_one_row_each(members),
    };
    let form = |(name, indices): (Option<&str>, Vec<usize>)| match name {
        Some(name) => group(name, indices, members, layout, faults),
        None => Some(lone(indices, members, layout)),
    };
    named.into_iter().filter_map(form).collect()
}

/// Whether LLMServingSim lays out one row of NPUs an instance: when all are alone, and none is tensor-parallel.
fn is_one_row_each(members: &[Member<'_>]) -> bool {
    members.iter().all(|member| member.instance.dp_group.is_none() && member.degrees.tp == 1)
}

fn lone(indices: Vec<usize>, members: &[Member<'_>], layout: Layout) -> Group {
    let first = &members[indices[0]];
    let Degrees { tp, pp, ep } = first.degrees;
    let sides = if first.instance.role() == Role::Prefill { 2 } else { 1 };
    let dims = if layout.lone_is_a_row { vec![pp, sides] } else { vec![tp, pp * sides] };
    let tp_dims = DimMask::new(&[true]);
    Group { name: None, members: indices, dims: trimmed(dims), local_ep: ep, tp_dims, ep_dims: tp_dims }
}

/// `groups`, without those that share no experts: engines of vLLM that serve a dense model know nothing of each other.
/// Their instances have no pipeline stages.
pub(crate) fn without_dense(groups: Vec<Group>, members: &[Member<'_>]) -> Vec<Group> {
    let apart = |group: Group| {
        let first = &members[group.members[0]];
        if first.model.is_moe() || group.members.len() == 1 {
            return vec![group];
        }
        let alone = |&member: &usize| Group {
            name: None,
            members: vec![member],
            dims: vec![first.degrees.tp],
            local_ep: group.local_ep,
            tp_dims: group.tp_dims,
            ep_dims: group.tp_dims,
        };
        group.members.iter().map(alone).collect()
    };
    groups.into_iter().flat_map(apart).collect()
}

/// Without trailing dimensions of one NPU.
fn trimmed(mut dims: Vec<u32>) -> Vec<u32> {
    while dims.len() > 1 && dims.last() == Some(&1) {
        dims.pop();
    }
    dims
}

fn group(
    name: &str,
    indices: Vec<usize>,
    members: &[Member<'_>],
    layout: Layout,
    faults: &mut Faults,
) -> Option<Group> {
    let first = &members[indices[0]];
    check_agreement(name, &indices, members, faults)?;
    let Degrees { tp, pp, ep } = first.degrees;
    let size = u32::try_from(indices.len()).ok()?;
    let local_ep = if first.model.is_moe() { ep / size } else { 1 };
    if first.model.is_moe() && (!ep.is_multiple_of(size) || local_ep > tp) {
        let instances = if size == 1 { "instance" } else { "instances" };
        let ranks = format!("dp_group {name} of {size} {instances}");
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
    // Which dimensions the experts' ranks spread over: that of a stage, that of the members.
    let (in_stage, over_members) = (ep <= tp || tp > 1, ep > tp);
    let (dims, ep_dims) = if layout.groups_have_stages {
        (vec![tp, pp, size], DimMask::new(&[in_stage, false, over_members]))
    } else {
        (vec![tp, size], DimMask::new(&[in_stage, over_members]))
    };
    let tp_dims = DimMask::new(&[true]);
    Some(Group { name: Some(name.to_owned()), members: indices, dims: trimmed(dims), local_ep, tp_dims, ep_dims })
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
        differ("pp_size", degree_place(&instance.pp_size), theirs.pp.to_string(), ours.pp.to_string());
        differ("ep_size", degree_place(&instance.ep_size), theirs.ep.to_string(), ours.ep.to_string());
        let dtype = |member: &Member<'_>| member.settings.dtype.name().to_owned();
        differ("dtype", instance.place.clone(), dtype(first), dtype(other));
    }
    (faults.iter().count() == before).then_some(())
}

/// How many dimensions lists of link settings must have: those of the widest group, or, when there are no
/// data-parallel groups, those of the grid that LLMServingSim lays all instances out on.
pub(crate) fn num_link_dims(groups: &[Group], members: &[Member<'_>]) -> usize {
    if groups.iter().any(|group| group.name.is_some()) {
        return groups.iter().map(|group| group.dims.len()).max().unwrap_or(1);
    }
    let outer_npus = |member: &Member<'_>| {
        let stages = if is_one_row_each(members) { 1 } else { member.degrees.pp };
        if member.instance.role() == Role::Prefill { 2 * u64::from(stages) } else { u64::from(stages) }
    };
    if members.iter().map(outer_npus).sum::<u64>() > 1 { 2 } else { 1 }
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

/// Checks measured collectives against the number of dimensions.
pub(crate) fn check_link_model(shared: &Shared, num_dims: usize, faults: &mut Faults) {
    if let Some(model) = shared.link_model.as_ref().filter(|model| model.value.1 > num_dims) {
        let message = format!("`link_model` has {} entries, but the topology has {num_dims} dimensions", model.value.1);
        faults.push(model.place.fault(message).hint("write one for each dimension, innermost first"));
    }
}

/// The links between the NPUs of `group`.
pub(crate) fn topology(group: &Group, bandwidth: &LinkSetting, latency: &LinkSetting) -> Topology {
    let dimension = |(dim, &npus)| Dimension::fully_connected(npus, bandwidth.at(dim), latency.at(dim));
    Topology::new(group.dims.iter().enumerate().map(dimension).collect())
}
