//! Prefill and decode on different instances: what passes from one to the other, and when.

use engine::{InstanceSpec, InstanceTotals, Polling, Role};
use proptest::prelude::*;

use crate::common::{
    Affine, Case, ClusterPlan, ELEMENT_BYTES, GroupPlan, MemberPlan, PimPlan, Run, SessionPlan, cases, config,
    exact_cases, services,
};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn decode_begins_when_prefill_is_done(case in cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        let decodes = deployment.instances.iter().enumerate().filter(|(_, spec)| spec.role == Role::Decode);
        for (index, _) in decodes {
            let steps = run.steps_of(index);
            for request in run.on(index) {
                let first_token = request.arrival + request.ttft;
                let second_token = first_token + request.itl[0];
                let yields = |end, start| end == second_token && start >= first_token;
                prop_assert!(steps.iter().any(|step| yields(step.end, step.start)), "{:?}", request);
            }
        }
    }

    /// What was found in the cache is handed over like what was computed.
    #[test]
    fn the_kv_of_every_prompt_is_handed_over_once(case in exact_cases()) {
        let (run, deployment) = (case.run(), case.deployment());
        let of_prefill = || deployment.instances.iter().enumerate().filter(|(_, spec)| spec.role == Role::Prefill);
        let preempts = of_prefill().any(|(index, _)| run.totals.instances[index].preemptions > 0);
        if preempts || !of_prefill().all(|(_, spec)| sends_nothing_else(spec)) {
            return Ok(());
        }
        for service in services(&deployment).iter().filter(|service| service.len() > 1) {
            let prompts: u64 = run.on_any(service).map(|request| request.input_tokens).sum();
            let model = &deployment.instances[service[0]].model;
            let sent: u64 = of_prefill().map(|(index, _)| link_bytes(&run, index)).sum();
            prop_assert_eq!(sent, model.kv_bytes_per_token(ELEMENT_BYTES, 1) * prompts);
        }
    }
}

/// Whether KV is all that goes over the links of an instance.
fn sends_nothing_else(spec: &InstanceSpec) -> bool {
    spec.tp == 1 && spec.pp == 1 && spec.ep == 1
}

fn link_bytes(run: &Run, instance: usize) -> u64 {
    run.steps_of(instance).iter().map(|step| step.part.work.link_bytes).sum()
}

/// A prefill and a decode instance of one NPU each, the decode instance first where `decode_first`.
fn pair(prefill: MemberPlan, decode: MemberPlan, decode_first: bool) -> ClusterPlan {
    let group = |role, member| GroupPlan { role, members: vec![member], ..GroupPlan::default() };
    let mut groups = vec![group(Role::Prefill, prefill), group(Role::Decode, decode)];
    if decode_first {
        groups.reverse();
    }
    ClusterPlan::new(groups)
}

#[test]
fn halves_hand_their_kv_over_once() {
    let bytes = |interleaves| {
        let pim = PimPlan { num_channels: 2, channel_split: 1, ns_per_token: 2.0, fixed_ns: 5.0, interleaves };
        let prefill = MemberPlan { pim: Some(pim), ..MemberPlan::default() };
        let workload = vec![SessionPlan::plain(0, 1000, 2); 2];
        link_bytes(&Case { cluster: pair(prefill, MemberPlan::default(), false), workload }.run(), 0)
    };
    assert_eq!(bytes(true), bytes(false));
}

#[test]
fn halves_of_prompts_end_in_reference_time() {
    let pim = PimPlan { num_channels: 2, channel_split: 1, ns_per_token: 2.0, fixed_ns: 5.0, interleaves: true };
    let prefill = MemberPlan { pim: Some(pim), ..MemberPlan::default() };
    let mut cluster = pair(prefill, MemberPlan::default(), false);
    cluster.options.polling = Polling::Reference;
    let run = Case { cluster, workload: vec![SessionPlan::plain(0, 10, 2); 2] }.run();
    assert_eq!(run.finished.len(), 2);
}

/// One-token blocks on the decode instance, where requests come to hold six. When the second one comes, the first is
/// through with a step and holds five; four of nine are free, for four tokens that are there. It waits for a fifth, since
/// it would lose all of them when it asks for the next.
#[test]
fn what_is_handed_over_needs_room_for_a_token_more() {
    let latency = Affine { base_ns: 1, per_token_ns: 0, per_kv_token_ns: 0 };
    let prefill = MemberPlan { latency, max_num_seqs: Some(1), block_size: 1, ..MemberPlan::default() };
    let decode = MemberPlan { spare_kv_blocks: 3, max_num_seqs: None, ..prefill };
    let run = Case { cluster: pair(prefill, decode, false), workload: vec![SessionPlan::plain(0, 4, 3); 2] }.run();
    let InstanceTotals { handoff_waits, preemptions, .. } = run.totals.instances[1];
    assert_eq!((handoff_waits, preemptions), (1, 0));
}

/// The decode instance has room for one request at a time, and needs two steps for each; a step takes as long on both
/// instances. So all but the first request wait.
#[test]
fn every_wait_for_room_counts() {
    const NUM_REQUESTS: u64 = 4;
    let latency = Affine { base_ns: 1, per_token_ns: 0, per_kv_token_ns: 0 };
    let prefill = MemberPlan { latency, max_num_seqs: Some(1), block_size: 1, ..MemberPlan::default() };
    let decode = MemberPlan { spare_kv_blocks: 0, max_num_seqs: None, ..prefill };
    for decode_first in [false, true] {
        let workload = vec![SessionPlan::plain(0, 4, 3); NUM_REQUESTS as usize];
        let run = Case { cluster: pair(prefill, decode, decode_first), workload }.run();
        let waited = run.finished.iter().filter(|request| request.itl[0] > request.itl[1]).count() as u64;
        assert_eq!(waited, NUM_REQUESTS - 1);
        let counted: u64 = run.totals.instances.iter().map(|totals| totals.handoff_waits).sum();
        assert_eq!(counted, waited, "decode first: {decode_first}");
    }
}
