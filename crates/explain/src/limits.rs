//! What a result of this deployment leaves out.
//!
//! Titles are those of LIMITATIONS.md, which a test of the command holds them to; the sentences say what they mean here.

use engine::{Deployment, Engine, Polling, Role};
use moe::Policy;
use network::NetworkModel;

use crate::{Facts, Limitation};

/// Every title that can come up.
pub const TITLES: &[&str] = &[
    STEPS_ONE_BY_ONE,
    HOST_TIMES,
    LAUNCH_POWER,
    LINKS_NOT_SHARED,
    ONE_ALGORITHM,
    MEASURED_TAKES_NO_LINK,
    NO_OVERHEADS,
    BALANCED,
    RECORDED,
    RANDOM,
    INTERPOLATED,
    ANALYTIC,
    PADDED,
    ONE_AT_A_TIME,
    ONE_TOKEN,
    POWER,
    STANDSTILL,
    TOKEN_IDS,
];

const STEPS_ONE_BY_ONE: &str = "The engine steps one batch at a time by default.";
const HOST_TIMES: &str = "A host's times are those of two recorded runs";
const LAUNCH_POWER: &str = "Waiting for launches counts as computing";
const LINKS_NOT_SHARED: &str = "Links are not shared by default.";
const ONE_ALGORITHM: &str = "Runs have one kind of collective algorithm";
const MEASURED_TAKES_NO_LINK: &str = "A measured collective takes no link.";
const NO_OVERHEADS: &str = "Activation peak and runtime context take no memory by default.";
const BALANCED: &str = "Experts are balanced by default";
const RECORDED: &str = "A recording is followed member by member.";
const RANDOM: &str = "`RAND` is random in its own way.";
const INTERPOLATED: &str = "Measured latency is interpolated";
const ANALYTIC: &str = "The analytic model";
const PADDED: &str = "Members of a wave are padded to the longest";
const ONE_AT_A_TIME: &str = "Memory outside the NPU serves one request at a time";
const ONE_TOKEN: &str = "A prefill/decode request of one token";
const POWER: &str = "Power follows LLMServingSim's model";
const STANDSTILL: &str = "`--polling reference` can come to a stop";
const TOKEN_IDS: &str = "Prefix caching needs token ids";

/// Those that apply.
pub(crate) fn that_apply(facts: &Facts<'_>) -> Vec<Limitation> {
    let deployment = facts.deployment;
    let entries = engine(facts).into_iter().chain(network(deployment)).chain(experts(deployment));
    entries
        .chain(times(facts))
        .chain(memory(facts))
        .filter(|(applies, ..)| *applies)
        .map(|(_, title, here)| Limitation { title, here: here.to_owned() })
        .collect()
}

type Entry = (bool, &'static str, &'static str);

fn engine(facts: &Facts<'_>) -> Vec<Entry> {
    let deployment = facts.deployment;
    let options = &deployment.options;
    let is_vllm = options.engine != Engine::Reference;
    let has_preset = facts.preset.as_deref().is_some_and(|name| name.starts_with("vllm-"));
    let has_groups = deployment.groups.iter().any(|group| group.members.len() > 1);
    let is_split = deployment.instances.iter().any(|instance| instance.role != Role::Whole);
    vec![
        (!is_vllm, STEPS_ONE_BY_ONE, "the host takes no time; first tokens come out early compared with a real vLLM"),
        (is_vllm && has_preset, HOST_TIMES, "your server's may differ; `servingsim calibrate` fits them to it"),
        (has_groups, PADDED, "a step is as long as its longest member's"),
        (is_split, ONE_TOKEN, "such requests are finished by the instance that prefills"),
        (
            options.polling == Polling::Reference,
            STANDSTILL,
            "requests can be left that wait for an event that never comes",
        ),
        (deployment.power.is_some(), POWER, "clock speeds and temperature change nothing"),
        (deployment.power.is_some() && is_vllm, LAUNCH_POWER, "gaps between launches draw active power"),
    ]
}

fn network(deployment: &Deployment) -> Vec<Entry> {
    let has_links = deployment.groups.iter().any(|group| group.topology.num_npus() > 1);
    let is_unaware = deployment.system.network_model == NetworkModel::Unaware;
    let is_measured = deployment.system.measured.is_some();
    vec![
        (has_links && is_unaware, LINKS_NOT_SHARED, "messages that would compete for a link are timed as if alone"),
        (has_links && !is_measured, ONE_ALGORITHM, "rings in every dimension, whatever the size"),
        (is_measured, MEASURED_TAKES_NO_LINK, "others beside it are not slowed down"),
    ]
}

fn experts(deployment: &Deployment) -> Vec<Entry> {
    let moe = || deployment.instances.iter().filter(|instance| instance.model.is_moe());
    let is_recorded = moe().any(|instance| instance.expert_routing.is_some());
    let by_policy = |policies: &[Policy]| {
        policies.contains(&deployment.options.expert_routing) && moe().any(|instance| instance.expert_routing.is_none())
    };
    vec![
        (
            by_policy(&[Policy::Balanced, Policy::Uniform]),
            BALANCED,
            "a hot expert would lengthen every wave; `--expert-routing-file` brings recorded routing",
        ),
        (is_recorded, RECORDED, "each instance starts at its beginning"),
        (by_policy(&[Policy::Random]), RANDOM, "another seed gives another run"),
    ]
}

fn times(facts: &Facts<'_>) -> Vec<Entry> {
    let is_measured = facts.instances.iter().any(|instance| instance.profile.is_some());
    let is_analytic = facts.instances.iter().any(|instance| instance.profile.is_none());
    vec![
        (is_measured, INTERPOLATED, "times are blended between what was measured, and extrapolated beyond"),
        (is_analytic, ANALYTIC, "times are those of a model fitted to few measurements"),
    ]
}

fn memory(facts: &Facts<'_>) -> Vec<Entry> {
    let deployment = facts.deployment;
    let has_no_overheads =
        |instance: &crate::InstanceFacts| instance.utilization.is_some() && instance.activation_peak_bytes.is_none();
    let goes_elsewhere = |instance: &engine::InstanceSpec| {
        !instance.placement.needs_no_loads() || instance.pim.is_some() || instance.tier.is_some()
    };
    let has_prefix_caches = deployment.instances.iter().any(|instance| instance.kv.prefix_caching);
    let lacks_ids = facts.workload.is_some_and(|workload| !workload.has_token_ids());
    vec![
        (
            facts.instances.iter().any(has_no_overheads),
            NO_OVERHEADS,
            "KV capacity is an upper bound on that of a real engine at the same utilisation",
        ),
        (deployment.instances.iter().any(goes_elsewhere), ONE_AT_A_TIME, "accesses queue up behind each other"),
        (has_prefix_caches && lacks_ids, TOKEN_IDS, "the workload lists none, so no prefix is ever found"),
    ]
}
