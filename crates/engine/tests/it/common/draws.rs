//! What clusters and workloads are drawn from.

use std::fmt::Debug;

use engine::{All2AllBackend, Engine, Polling, RequestRouting, Role, RunOptions};
use model::Layer;
use network::NetworkModel;
use proptest::prelude::*;
use proptest::sample::select;
use units::Duration;

use super::cluster::{ClusterPlan, ExpertPlan, GroupPlan, MemberPlan};
use super::features::{PimPlan, Place, PlacementPlan, TierPlan, TierSharing};
use super::latency::Affine;
use super::workload::{CallPlan, Ids, SessionPlan};

pub(crate) const INSTANCES_MAX: usize = 16;
const NODES_MAX: u32 = 4;

/// Whether passes may be more than a chain of ops: stages, peers, weights to load, attention in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Features {
    None,
    Any,
}

impl Features {
    /// One of them, drawn at this rate where there are any.
    fn at_times<T: Clone + Debug + 'static>(
        self,
        rate: f64,
        feature: impl Strategy<Value = T> + 'static,
    ) -> BoxedStrategy<Option<T>> {
        match self {
            Features::None => Just(None).boxed(),
            Features::Any => prop::option::weighted(rate, feature).boxed(),
        }
    }
}

pub(crate) fn clusters(groups: impl Strategy<Value = Vec<GroupPlan>>) -> impl Strategy<Value = ClusterPlan> {
    let links = (select(vec![0.01, 0.5, 16.0, 900.0]), select(vec![0.0, 300.0, 20_000.0]));
    let model = prop_oneof![5 => Just(NetworkModel::Unaware), 1 => Just(NetworkModel::Aware)];
    let network = (links, model, prop::bool::weighted(0.15));
    let host = (select(vec![1.0, 40.0]), select(vec![0.0, 120.0]));
    let tier_sharing = select(vec![TierSharing::Nobody, TierSharing::Node, TierSharing::Cluster]);
    let skips_prefill = prop::bool::weighted(0.15);
    (groups, any::<bool>(), 1..=NODES_MAX, network, host, tier_sharing, skips_prefill, options()).prop_map(
        |(
            groups,
            interleaved,
            num_nodes,
            (links, network_model, is_measured),
            host,
            tier_sharing,
            skips_prefill,
            options,
        )| ClusterPlan {
            groups,
            interleaved,
            num_nodes,
            link_gib_per_s: links.0,
            link_latency_ns: links.1,
            network_model,
            is_measured,
            host_gb_per_s: host.0,
            host_latency_ns: host.1,
            tier_sharing,
            skips_prefill,
            options,
        },
    )
}

fn options() -> impl Strategy<Value = RunOptions> {
    let policies = vec![moe::Policy::Balanced, moe::Policy::Uniform, moe::Policy::RoundRobin, moe::Policy::Random];
    let log_intervals = select(vec![50_000, 1_000_000, 30_000_000]).prop_map(Duration::from_ns);
    (
        select(RequestRouting::ALL),
        select(policies),
        select(All2AllBackend::ALL),
        select(Polling::ALL),
        log_intervals,
        any::<u64>(),
    )
        .prop_map(|(request_routing, expert_routing, all2all_backend, polling, log_interval, seed)| RunOptions {
            request_routing,
            expert_routing,
            all2all_backend,
            polling,
            engine: Engine::Reference,
            log_interval,
            seed,
        })
}

/// Groups by themselves, and in some clusters prefill and decode instances before them.
pub(crate) fn groups(features: Features) -> BoxedStrategy<Vec<GroupPlan>> {
    let split = features.at_times(0.45, split(features));
    // Few, so that requests meet, and at times many.
    let beside = prop_oneof![3 => prop::collection::vec(group(features), 0..=1), 1 => prop::collection::vec(group(features), 2..=5)];
    let all = (split, group(features), beside).prop_map(|(split, first, beside)| {
        let mut groups = split.unwrap_or_else(|| vec![first]);
        let mut num_instances = groups.iter().map(|group| group.members.len()).sum::<usize>();
        for group in beside {
            num_instances += group.members.len();
            if num_instances <= INSTANCES_MAX {
                groups.push(group);
            }
        }
        groups
    });
    all.boxed()
}

/// Prefill instances and the decode instances that take over from any of them, and so have the same model and blocks.
fn split(features: Features) -> impl Strategy<Value = Vec<GroupPlan>> {
    let lone = || {
        group(features).prop_map(|mut group| {
            group.members.truncate(1);
            group
        })
    };
    (prop::collection::vec(lone(), 1..=3), prop::collection::vec(lone(), 1..=3)).prop_map(
        |(mut prefill, mut decode)| {
            prefill.iter_mut().for_each(|group| group.role = Role::Prefill);
            decode.iter_mut().for_each(|group| group.role = Role::Decode);
            let mut groups = [prefill, decode].concat();
            let num_blocks = groups.iter().map(|group| group.num_blocks.max(group.pp.into())).max().unwrap_or(1);
            let GroupPlan { qk_norm, experts, .. } = groups[0];
            let block_size = groups[0].members[0].block_size;
            for group in &mut groups {
                (group.num_blocks, group.qk_norm, group.experts) = (num_blocks, qk_norm, experts);
                group.members[0].block_size = block_size;
            }
            groups
        },
    )
}

pub(crate) fn group(features: Features) -> impl Strategy<Value = GroupPlan> {
    let experts = (1..=3u32, 8..=53u32, 1..=8u32);
    let experts = experts.prop_map(|(local_ep, count, per_token)| ExpertPlan { local_ep, count, per_token });
    let member = || member(features);
    let members = prop_oneof![1 => prop::collection::vec(member(), 1), 1 => prop::collection::vec(member(), 2..=4)];
    let stages = features.at_times(0.3, 2..=3u32).prop_map(|pp| pp.unwrap_or(1));
    let model = (1..=4u64, any::<bool>(), prop::option::weighted(0.7, experts), prop::bool::weighted(0.1));
    (1..=3u32, stages, model, members).prop_map(|(tp, pp, model, members)| GroupPlan {
        tp,
        pp,
        role: Role::Whole,
        num_blocks: model.0,
        qk_norm: model.1,
        experts: model.2,
        takes_one_expert: model.3,
        members,
    })
}

fn member(features: Features) -> impl Strategy<Value = MemberPlan> {
    let latency = (1..200u64, 0..30u64, 0..10u64).prop_map(|(base_ns, per_token_ns, per_kv_token_ns)| Affine {
        base_ns,
        per_token_ns,
        per_kv_token_ns,
    });
    let limits = (prop::option::of(1..=8u64), prop_oneof![1..=16u64, 1..=128u64], select(vec![0, 0, 1, 5, 40]));
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let kv = (select(vec![1, 2, 4, 7, 16, 32]), prop_oneof![0..8u32, 0..200u32]);
    let tier = (1..=4u32, prop_oneof![1..=4u32, 1..=100u32]);
    let tier = tier.prop_map(|(factor, num_blocks)| TierPlan { factor, num_blocks });
    let memory = (placement(features), prop::option::weighted(0.4, tier), pim(features));
    (0..NODES_MAX, latency, limits, switches, kv, memory).prop_map(|(node, latency, limits, switches, kv, memory)| {
        MemberPlan {
            node,
            latency,
            max_num_seqs: limits.0,
            step_tokens: limits.1,
            long_prefill_token_threshold: limits.2,
            chunked_prefill: switches.0,
            reserve_full_isl: switches.1,
            block_size: kv.0,
            spare_kv_blocks: kv.1,
            prefix_caching: switches.2,
            block_copy: switches.3,
            placement: memory.0,
            tier: memory.1,
            pim: memory.2,
        }
    })
}

/// Where prefixes come back from may differ on any cluster; it takes a load, but no more than a chain.
fn placement(features: Features) -> impl Strategy<Value = PlacementPlan> {
    let place = || select(vec![Place::Npu, Place::Host, Place::Pool]);
    let blocks = prop::option::of((place(), place()).prop_map(|(even, odd)| [even, odd]));
    let layer = prop::option::of((select(Layer::ALL), place()));
    let elsewhere = (place(), blocks, layer, any::<bool>());
    (features.at_times(0.25, elsewhere), place()).prop_map(|(elsewhere, recall_from)| {
        let (weights, blocks, layer, loads_npu_weights) = elsewhere.unwrap_or((Place::Npu, None, None, false));
        PlacementPlan { weights, blocks, layer, loads_npu_weights, recall_from }
    })
}

fn pim(features: Features) -> impl Strategy<Value = Option<PimPlan>> {
    features.at_times(0.2, pim_plan())
}

pub(crate) fn pim_plan() -> impl Strategy<Value = PimPlan> {
    let pim = (1..=6u32, 1..=4u32, select(vec![0.0, 1.5, 40.0]), select(vec![3.0, 900.0]), any::<bool>());
    pim.prop_map(|(num_channels, channel_split, ns_per_token, fixed_ns, interleaves)| PimPlan {
        num_channels,
        channel_split,
        ns_per_token,
        fixed_ns,
        interleaves,
    })
}

/// Arrivals come on a few beats, so that many come together.
pub(crate) fn sessions(sessions_max: usize) -> impl Strategy<Value = Vec<SessionPlan>> {
    let calls = prop_oneof![4 => prop::collection::vec(call(), 1), 1 => prop::collection::vec(call(), 2..=4)];
    let session = (0..12u64, calls);
    let first_ns = select(vec![0, 1, 700_000]);
    let beat_ns = select(vec![0, 3_000, 50_000, 1_000_000]);
    (first_ns, beat_ns, prop::collection::vec(session, 1..=sessions_max)).prop_map(|(first_ns, beat_ns, sessions)| {
        let session = |(beat, calls)| SessionPlan { arrival_ns: first_ns + beat * beat_ns, calls };
        sessions.into_iter().map(session).collect()
    })
}

pub(crate) fn call() -> impl Strategy<Value = CallPlan> {
    let input_tokens = prop_oneof![1..=4u64, 1..=64u64];
    let output_tokens = prop_oneof![1 => Just(1), 3 => 1..=12u64];
    let tool_ns = select(vec![0, 2_000, 100_000, 20_000_000]);
    let shared = (0..2u32, 0..100u32).prop_map(|(family, tokens)| Ids::Shared { family, tokens });
    let ids = prop_oneof![1 => Just(Ids::Unknown), 4 => shared];
    (input_tokens, output_tokens, tool_ns, ids).prop_map(|(input_tokens, output_tokens, tool_ns, ids)| CallPlan {
        input_tokens,
        output_tokens,
        tool_ns,
        ids,
    })
}
