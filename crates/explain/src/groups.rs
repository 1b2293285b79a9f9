//! Groups, their links, and the place of every NPU in them.

use std::collections::HashMap;

use engine::{Deployment, GroupSpec, InstanceSpec};
use network::{CollectiveKind, DimMask};

use crate::instances::blocks_by_stage;
use crate::{DimensionFacts, Facts, GroupKind, Ids, Npu};

/// The groups, those that are alike once, and every NPU.
pub(crate) fn kinds(facts: &Facts<'_>) -> (Vec<GroupKind>, Vec<Npu>) {
    let deployment = facts.deployment;
    let first_npus = first_npus(deployment);
    let mut npus = Vec::with_capacity(first_npus.last().map_or(0, |&last| last as usize));
    let mut kinds: Vec<(Signature<'_>, GroupKind)> = Vec::new();
    let mut placements = Placements::default();
    for (index, group) in (0..).zip(&deployment.groups) {
        let start = npus.len();
        add_npus(&mut npus, (index, group), (deployment, &first_npus), &mut placements);
        let signature = Signature::of(group, facts);
        let at = match kinds.iter().rposition(|(known, _)| *known == signature) {
            Some(at) => at,
            None => {
                kinds.push((signature, kind(group, deployment, &npus[start..])));
                kinds.len() - 1
            }
        };
        let kind = &mut kinds[at].1;
        kind.groups.push(index);
        kind.names.extend(group.name.clone());
        kind.instances =
            kind.instances.iter().chain(group.members.iter().map(|member| member.0)).collect::<Sorted>().into();
    }
    npus.sort_by_key(|npu: &Npu| npu.npu);
    (kinds.into_iter().map(|(_, kind)| kind).collect(), npus)
}

/// Numbers in any order, to be sorted.
struct Sorted(Vec<u32>);

impl FromIterator<u32> for Sorted {
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        Self(numbers)
    }
}

impl From<Sorted> for Ids {
    fn from(sorted: Sorted) -> Self {
        sorted.0.into_iter().collect()
    }
}

/// What makes groups alike: links, and members that are.
#[derive(PartialEq)]
struct Signature<'a> {
    dims: &'a [network::Dimension],
    is_named: bool,
    members: usize,
    first: Member<'a>,
}

#[derive(PartialEq)]
struct Member<'a> {
    model: &'a str,
    hardware: &'a str,
    role: engine::Role,
    degrees: [u32; 4],
    scheduler: engine::SchedulerSpec,
    kv: engine::KvSpec,
    weight_bytes: u64,
    profile: Option<&'a str>,
    block_copy: bool,
    has_pim: bool,
}

impl<'a> Signature<'a> {
    fn of(group: &'a GroupSpec, facts: &'a Facts<'_>) -> Self {
        let first = group.members[0].index();
        let spec = &facts.deployment.instances[first];
        Self {
            dims: group.topology.dims(),
            is_named: group.name.is_some(),
            members: group.members.len(),
            first: Member {
                model: &spec.model.name,
                hardware: &spec.hardware,
                role: spec.role,
                degrees: [spec.tp, spec.pp, spec.ep, spec.local_ep],
                scheduler: spec.scheduler,
                kv: spec.kv,
                weight_bytes: spec.weight_bytes,
                profile: facts.instances[first].profile.as_deref(),
                block_copy: spec.block_copy,
                has_pim: spec.pim.is_some(),
            },
        }
    }
}

/// The number of each instance's first NPU, and that of all NPUs.
fn first_npus(deployment: &Deployment) -> Vec<u32> {
    let mut next = 0;
    let mut first_npus = vec![0];
    for instance in &deployment.instances {
        next += instance.num_npus_with_peers();
        first_npus.push(next);
    }
    first_npus
}

/// The first and the last expert of each rank, by experts and ranks.
#[derive(Default)]
struct Placements(HashMap<(u32, u32), Vec<Option<[u32; 2]>>>);

impl Placements {
    fn experts(&mut self, spec: &InstanceSpec, rank: u32) -> Option<[u32; 2]> {
        let count = spec.model.experts?.count;
        let ranks = self.0.entry((count, spec.ep)).or_insert_with(|| {
            let placement = moe::Placement::even(count, spec.ep);
            let mut ranks = vec![None; spec.ep as usize];
            for expert in 0..count {
                let range: &mut Option<[u32; 2]> = &mut ranks[placement.rank_of(expert) as usize];
                *range = Some([range.map_or(expert, |range| range[0]), expert]);
            }
            ranks
        });
        ranks[rank as usize]
    }
}

fn add_npus(
    npus: &mut Vec<Npu>,
    (group_index, group): (u32, &GroupSpec),
    (deployment, first_npus): (&Deployment, &[u32]),
    placements: &mut Placements,
) {
    let mut rank = 0;
    for (dp, &instance) in (0..).zip(&group.members) {
        let spec = &deployment.instances[instance.index()];
        let first = first_npus[instance.index()];
        let stages = blocks_by_stage(spec);
        for index in 0..spec.num_npus_with_peers() {
            let computing = index % spec.num_npus();
            let (pp, tp) = (computing / spec.tp, computing % spec.tp);
            let is_peer = index >= spec.num_npus();
            // Each stage has the experts of its blocks, on its first ranks.
            let ep = (!is_peer && spec.model.is_moe() && tp < spec.local_ep).then(|| dp * spec.local_ep + tp);
            npus.push(Npu {
                npu: first + index,
                node: spec.node.0,
                instance: instance.0,
                group: group_index,
                rank,
                dp,
                pp,
                tp,
                ep,
                experts: ep.and_then(|rank| placements.experts(spec, rank)),
                blocks: stages[pp as usize],
                peer_of: is_peer.then(|| first + computing),
            });
            rank += 1;
        }
    }
}

fn kind(group: &GroupSpec, deployment: &Deployment, npus: &[Npu]) -> GroupKind {
    let first = &deployment.instances[group.members[0].index()];
    let topology = &group.topology;
    let mut stride = 1;
    let dimensions = (0..).zip(topology.dims()).map(|(dim, dimension)| {
        let along = || (0..dimension.npus as usize).map(|at| &npus[at * stride]);
        let differ = |of: fn(&Npu) -> u32| along().any(|npu| of(npu) != of(&npus[0]));
        let joins = [
            ("tp", differ(|npu| npu.tp)),
            ("pp", differ(|npu| npu.pp)),
            ("dp", differ(|npu| npu.dp)),
            ("peer", differ(|npu| u32::from(npu.peer_of.is_some()))),
        ];
        let involves = |dims: DimMask| dims.contains(dim) && dimension.npus > 1;
        let carries =
            [("tp", first.tp > 1 && involves(first.tp_dims)), ("ep", first.ep > 1 && involves(first.ep_dims))];
        let is_measured = |kind: &CollectiveKind| {
            deployment.system.measured.as_ref().is_some_and(|measured| measured.get(dim, *kind).is_some())
        };
        let named = |pairs: &[(&'static str, bool)]| pairs.iter().filter(|pair| pair.1).map(|pair| pair.0).collect();
        let facts = DimensionFacts {
            block: dimension.block.name(),
            npus: dimension.npus,
            bandwidth_gib_per_s: dimension.bandwidth_gib_per_s,
            latency_ns: dimension.latency_ns,
            joins: named(&joins),
            carries: named(&carries),
            measured: CollectiveKind::ALL.into_iter().filter(is_measured).map(CollectiveKind::name).collect(),
        };
        stride *= dimension.npus as usize;
        facts
    });
    GroupKind {
        groups: Ids::default(),
        names: Vec::new(),
        instances: Ids::default(),
        first_members: group.members.iter().map(|member| member.0).collect(),
        npus: topology.num_npus() as u32,
        dimensions: dimensions.collect(),
    }
}
