//! Clusters and workloads at random, small enough to run by the thousand and tight enough to run into every limit.

use std::env;

use engine::{Deployment, Entry, Polling, RequestRouter, Role};
use network::NetworkModel;
use proptest::prelude::*;

use super::cluster::ClusterPlan;
use super::draws::{Features, INSTANCES_MAX, call, clusters, group, groups, pim_plan, sessions};
use super::features::{PimPlan, Place, TierSharing};
use super::run::Run;
use super::workload::{SessionPlan, entries};

const SESSIONS_MAX: usize = 24;

/// How often each property is tried: as `PROPTEST_CASES` says, or often enough for every day.
pub(crate) fn config() -> ProptestConfig {
    match env::var_os("PROPTEST_CASES") {
        Some(_) => ProptestConfig::default(),
        None => ProptestConfig::with_cases(100),
    }
}

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

    /// Runs it with requests routed by `router`.
    pub(crate) fn run_with(&self, router: Box<dyn RequestRouter>) -> Run {
        Run::routed(&self.deployment(), &self.entries(), router)
    }

    /// The same with nothing that instances share but routers: each has a host of its own, uses no pool, and keeps its
    /// tier to itself. Ids follow the groups.
    pub(crate) fn with_nothing_shared(mut self) -> Self {
        let members = self.cluster.groups.iter_mut().flat_map(|group| &mut group.members);
        self.cluster.num_nodes = 0;
        for member in members {
            member.node = self.cluster.num_nodes;
            self.cluster.num_nodes += 1;
            let placement = &mut member.placement;
            let by_block = placement.blocks.iter_mut().flatten();
            let by_layer = placement.layer.iter_mut().map(|(_, place)| place);
            let places =
                [&mut placement.weights, &mut placement.recall_from].into_iter().chain(by_block).chain(by_layer);
            places.filter(|place| **place == Place::Pool).for_each(|place| *place = Place::Host);
        }
        self.cluster.tier_sharing = TierSharing::Nobody;
        self.cluster.interleaved = false;
        self
    }

    /// Leaves out what comes to nothing sensible in LLMServingSim itself, and so in its time:
    /// - a prefill instance has no way to finish a request: every output has a second token;
    /// - a sequence that loses its blocks to another counts the batch in flight nonetheless: pipelines have KV enough;
    /// - members of a group that start apart mix up which of their batches in flight is which: groups have no stages;
    /// - of several ranks only the first waits for attention in memory, and what follows waits for nothing else: it is for
    ///   lone instances of one NPU;
    /// - a prefill instance that runs its steps in halves sends no KV: it runs them whole;
    /// - of a model whose blocks are routed one by one a single block is run: pipelines route all alike.
    fn fit_for_reference_time(mut self) -> Self {
        if self.cluster.options.polling == Polling::Exact {
            return self;
        }
        let splits = self.cluster.groups.iter().any(|group| group.role == Role::Prefill);
        let calls = self.workload.iter_mut().flat_map(|session| &mut session.calls);
        calls.filter(|_| splits).for_each(|call| call.output_tokens = call.output_tokens.max(2));
        for group in &mut self.cluster.groups {
            let is_alone = group.members.len() == 1;
            group.pp = if is_alone { group.pp } else { 1 };
            for member in &mut group.members {
                member.pim = member.pim.filter(|_| is_alone && group.tp == 1);
                if let Some(pim) = &mut member.pim {
                    pim.interleaves &= group.role != Role::Prefill;
                }
                if group.pp > 1 {
                    member.spare_kv_blocks = 10_000;
                    member.block_copy = true;
                }
            }
        }
        self
    }
}

/// Any cluster with any workload.
pub(crate) fn cases() -> impl Strategy<Value = Case> {
    let groups = prop_oneof![1 => groups(Features::None), 2 => groups(Features::Any)];
    (clusters(groups), sessions(SESSIONS_MAX))
        .prop_map(|(cluster, workload)| Case { cluster, workload }.fit_for_reference_time())
}

/// Any cluster with any workload, in exact time.
pub(crate) fn exact_cases() -> impl Strategy<Value = Case> {
    let groups = prop_oneof![1 => groups(Features::None), 2 => groups(Features::Any)];
    in_exact_time((clusters(groups), sessions(SESSIONS_MAX)))
}

/// Clusters on which every pass is a single chain of ops, in exact time: time has a closed form there.
pub(crate) fn chain_cases() -> impl Strategy<Value = Case> {
    let strategy = (clusters(groups(Features::None)), sessions(SESSIONS_MAX));
    in_exact_time(strategy).prop_map(|mut case| {
        case.cluster.network_model = NetworkModel::Unaware;
        case
    })
}

/// The same but for pipeline stages, which their groups may have: time has a closed form stage by stage.
///
/// Ranks of a stage that are in step access memory in the same nanosecond, and which comes first is left to chance. So
/// either a stage is one rank, or memory lets nobody wait.
pub(crate) fn stage_cases() -> impl Strategy<Value = Case> {
    let stages = prop::collection::vec(1..=4u32, INSTANCES_MAX);
    (chain_cases(), stages, any::<bool>()).prop_map(|(mut case, stages, is_memory_free)| {
        let ClusterPlan { groups, host_gb_per_s, host_latency_ns, .. } = &mut case.cluster;
        for (group, pp) in groups.iter_mut().zip(stages) {
            group.pp = pp;
            group.tp = if is_memory_free { group.tp } else { 1 };
            for member in group.members.iter_mut().filter(|_| is_memory_free) {
                member.placement.recall_from = Place::Npu;
            }
        }
        if is_memory_free {
            (*host_gb_per_s, *host_latency_ns) = (1e9, 0.0);
        }
        case
    })
}

/// The same but for attention in memory, which lone instances may have.
pub(crate) fn pim_cases() -> impl Strategy<Value = Case> {
    let plans = prop::collection::vec(prop::option::weighted(0.7, pim_plan()), INSTANCES_MAX);
    (chain_cases(), plans).prop_map(|(mut case, plans)| {
        let lone = case.cluster.groups.iter_mut().filter(|group| group.members.len() == 1);
        for (group, plan) in lone.zip(plans) {
            let interleaves = |plan: PimPlan| plan.interleaves && group.tp == 1;
            group.members[0].pim = plan.map(|plan| PimPlan { interleaves: interleaves(plan), ..plan });
        }
        case
    })
}

fn in_exact_time(strategy: impl Strategy<Value = (ClusterPlan, Vec<SessionPlan>)>) -> impl Strategy<Value = Case> {
    strategy.prop_map(|(mut cluster, workload)| {
        cluster.options.polling = Polling::Exact;
        Case { cluster, workload }
    })
}

/// Cases in which time decides nothing: one group in exact time, each member on a node of its own, everything there from
/// the start. Whatever the links do, the same batches run in the same order. A lone instance may have stages, since its
/// batches end in the order in which they begin; members of a group may not, since one that is through with its oldest
/// batch sooner joins the next wave with more.
pub(crate) fn untimed_cases() -> impl Strategy<Value = Case> {
    let group = (group(Features::None), 1..=3u32).prop_map(|(mut group, pp)| {
        group.pp = if group.members.len() == 1 { pp } else { 1 };
        (0..).zip(&mut group.members).for_each(|(node, member)| member.node = node);
        vec![group]
    });
    (clusters(group), prop::collection::vec(call(), 1..=SESSIONS_MAX)).prop_map(|(mut cluster, calls)| {
        cluster.num_nodes = cluster.groups[0].members.len() as u32;
        cluster.options.polling = Polling::Exact;
        let workload = calls.into_iter().map(|call| SessionPlan { arrival_ns: 0, calls: vec![call] });
        Case { cluster, workload: workload.collect() }
    })
}
