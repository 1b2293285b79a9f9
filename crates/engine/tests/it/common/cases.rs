//! Clusters and workloads at random, small enough to run by the thousand and tight enough to run into every limit.

use engine::{All2AllBackend, Deployment, Entry, Polling, RequestRouting, RunOptions};
use proptest::prelude::*;
use proptest::sample::select;
use units::Duration;

use super::cluster::{ClusterPlan, ExpertPlan, GroupPlan, MemberPlan};
use super::latency::Affine;
use super::run::Run;
use super::workload::{CallPlan, Ids, SessionPlan, entries};

const INSTANCES_MAX: usize = 6;

/// A cluster and what it is to serve.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) cluster: ClusterPlan,
    pub(crate) workload: Vec<SessionPlan>,
}

impl Case {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        entries(&self.workload)
    }

    pub(crate) fn deployment(&self) -> Deployment {
        self.cluster.deployment(&self.entries())
    }

    pub(crate) fn run(&self) -> Run {
        Run::of(&self.deployment(), &self.entries())
    }
}

/// Any cluster with any workload.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    (clusters(groups()), workloads(20)).prop_map(|(cluster, workload)| Case { cluster, workload })
}

/// Any cluster with any workload, in exact time.
pub(crate) fn exact_cases() -> impl Strategy<Value = Case> {
    cases().prop_map(|mut case| {
        case.cluster.options.polling = Polling::Exact;
        case
    })
}

/// Cases in which time decides nothing: one group in exact time, each member on a node of its own, everything there from
/// the start. Whatever the links do, the same batches run in the same order.
pub(crate) fn untimed_cases() -> impl Strategy<Value = Case> {
    let cluster = clusters(group().prop_map(|mut group| {
        (0..).zip(&mut group.members).for_each(|(node, member)| member.node = node);
        vec![group]
    }));
    (cluster, prop::collection::vec(call(), 1..=20)).prop_map(|(mut cluster, calls)| {
        cluster.num_nodes = cluster.groups[0].members.len() as u32;
        cluster.options.polling = Polling::Exact;
        let workload = calls.into_iter().map(|call| SessionPlan { arrival_ns: 0, calls: vec![call] });
        Case { cluster, workload: workload.collect() }
    })
}

fn clusters(groups: impl Strategy<Value = Vec<GroupPlan>>) -> impl Strategy<Value = ClusterPlan> {
    let links = (select(vec![0.01, 0.5, 16.0, 900.0]), select(vec![0.0, 300.0, 20_000.0]));
    let host = (select(vec![1.0, 40.0]), select(vec![0.0, 120.0]));
    (groups, any::<bool>(), 1..=2u32, links, host, options()).prop_map(
        |(groups, interleaved, num_nodes, links, host, options)| ClusterPlan {
            groups,
            interleaved,
            num_nodes,
            link_gib_per_s: links.0,
            link_latency_ns: links.1,
            host_gb_per_s: host.0,
            host_latency_ns: host.1,
            options,
        },
    )
}

fn options() -> impl Strategy<Value = RunOptions> {
    let policies = vec![moe::Policy::Balanced, moe::Policy::RoundRobin, moe::Policy::Random];
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
            log_interval,
            seed,
        })
}

fn groups() -> impl Strategy<Value = Vec<GroupPlan>> {
    prop::collection::vec(group(), 1..=4).prop_map(|mut groups| {
        let mut num_instances = 0;
        groups.retain(|group| {
            let fits = num_instances + group.members.len() <= INSTANCES_MAX;
            num_instances += if fits { group.members.len() } else { 0 };
            fits
        });
        groups
    })
}

fn group() -> impl Strategy<Value = GroupPlan> {
    let experts = (1..=3u32, 8..=53u32, 1..=8u32);
    let experts = experts.prop_map(|(local_ep, count, per_token)| ExpertPlan { local_ep, count, per_token });
    let members = prop_oneof![1 => prop::collection::vec(member(), 1), 1 => prop::collection::vec(member(), 2..=4)];
    (1..=3u32, 1..=4u64, any::<bool>(), prop::option::weighted(0.7, experts), members)
        .prop_map(|(tp, num_blocks, qk_norm, experts, members)| GroupPlan { tp, num_blocks, qk_norm, experts, members })
}

fn member() -> impl Strategy<Value = MemberPlan> {
    let latency = (1..200u64, 0..30u64, 0..10u64).prop_map(|(base_ns, per_token_ns, per_kv_token_ns)| Affine {
        base_ns,
        per_token_ns,
        per_kv_token_ns,
    });
    let limits = (prop::option::of(1..=8u64), prop_oneof![1..=16u64, 1..=128u64], select(vec![0, 0, 1, 5, 40]));
    let switches = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let kv = (select(vec![1, 2, 4, 7, 16, 32]), prop_oneof![0..4u32, 0..200u32]);
    (0..2u32, latency, limits, switches, kv).prop_map(|(node, latency, limits, switches, kv)| MemberPlan {
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
    })
}

/// Arrivals come on a few beats, so that many come together.
fn workloads(sessions_max: usize) -> impl Strategy<Value = Vec<SessionPlan>> {
    let calls = prop_oneof![4 => prop::collection::vec(call(), 1), 1 => prop::collection::vec(call(), 2..=4)];
    let session = (0..12u64, calls);
    let first_ns = select(vec![0, 1, 700_000]);
    let beat_ns = select(vec![0, 3_000, 50_000, 1_000_000]);
    (first_ns, beat_ns, prop::collection::vec(session, 1..=sessions_max)).prop_map(|(first_ns, beat_ns, sessions)| {
        let session = |(beat, calls)| SessionPlan { arrival_ns: first_ns + beat * beat_ns, calls };
        sessions.into_iter().map(session).collect()
    })
}

fn call() -> impl Strategy<Value = CallPlan> {
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
