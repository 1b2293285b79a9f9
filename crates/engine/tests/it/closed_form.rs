//! Runs small enough to add up by hand: layers, host memory, collectives.

use engine::{All2AllBackend, InstanceTotals};
use model::Layer;

use crate::common::{
    Affine, Case, ClusterPlan, ELEMENT_BYTES, ENDPOINT_DELAY_NS, ExpertPlan, Finished, GroupPlan, HIDDEN_SIZE,
    LOCAL_MEMORY_GB_PER_S, MemberPlan, Run, SessionPlan,
};

pub(crate) const NUM_BLOCKS: u64 = 2;

/// A step of the dense model on one NPU: `tokens` tokens of `sequences` sequences, around this attention.
pub(crate) fn dense_step_ns(tokens: u64, sequences: u64, attention_ns: u64) -> u64 {
    let times = Affine::default();
    let block = [
        Layer::Layernorm,
        Layer::QkvProj,
        Layer::RotaryEmb,
        Layer::OProj,
        Layer::Layernorm,
        Layer::GateUpProj,
        Layer::ActFn,
        Layer::DownProj,
    ];
    let block_ns: u64 = block.map(|layer| times.layer_ns(layer, tokens)).iter().sum();
    times.layer_ns(Layer::Embedding, tokens)
        + NUM_BLOCKS * (block_ns + attention_ns)
        + times.layer_ns(Layer::FinalLayernorm, tokens)
        + times.layer_ns(Layer::LmHead, sequences)
        + times.layer_ns(Layer::Sampler, sequences)
}

/// A step of one sequence by itself that computes `tokens` tokens after `history`.
pub(crate) fn alone_ns(tokens: u64, history: u64) -> u64 {
    dense_step_ns(tokens, 1, Affine::default().attention_ns(tokens, history))
}

fn run(cluster: ClusterPlan, workload: Vec<SessionPlan>) -> Run {
    Case { cluster, workload }.run()
}

pub(crate) fn itl_ns(request: &Finished) -> Vec<u64> {
    request.itl.iter().map(|itl| itl.ns()).collect()
}

#[test]
fn one_request_takes_its_layers_and_its_way_from_and_to_the_host() {
    let check = |arrival_ns: u64, prompt: u64, host_latency_ns: u64, host_gb_per_s: u64| {
        let mut cluster = ClusterPlan::lone_instances(1);
        cluster.host_latency_ns = host_latency_ns as f64;
        cluster.host_gb_per_s = host_gb_per_s as f64;
        let run = run(cluster, vec![SessionPlan::plain(arrival_ns, prompt, 3)]);
        let host_ns = |tokens: u64| {
            let (input_bytes, output_bytes) = (tokens * ELEMENT_BYTES * 2, tokens * 4);
            2 * host_latency_ns + input_bytes / host_gb_per_s + output_bytes / host_gb_per_s
        };
        let request = &run.finished[0];
        assert_eq!(request.queuing_delay.ns(), 0);
        assert_eq!(request.ttft.ns(), alone_ns(prompt, 0) + host_ns(prompt), "{prompt} prompt tokens");
        let decode = |history| alone_ns(1, history) + host_ns(1);
        assert_eq!(itl_ns(request), [decode(prompt), decode(prompt + 1)], "{prompt} prompt tokens");
    };
    check(0, 2, 0, 1_000_000_000);
    check(0, 100, 50, 4);
    check(12_345, 777, 1, 1);
}

#[test]
fn a_prompt_beyond_the_budget_takes_several_steps() {
    let check = |step_tokens: u64, threshold: u64, chunks: &[u64]| {
        let mut cluster = ClusterPlan::lone_instances(1);
        let member = &mut cluster.groups[0].members[0];
        (member.step_tokens, member.long_prefill_token_threshold) = (step_tokens, threshold);
        let run = run(cluster, vec![SessionPlan::plain(0, 100, 1)]);
        let (&last, before) = chunks.split_last().expect("a chunk");
        let chunk = |(history, ns): (u64, u64), &tokens: &u64| (history + tokens, ns + alone_ns(tokens, history));
        let (history, waited_ns) = before.iter().fold((0, 0), chunk);
        let told = (run.finished[0].queuing_delay.ns(), run.finished[0].ttft.ns());
        assert_eq!(told, (waited_ns, waited_ns + alone_ns(last, history)), "chunks of {chunks:?}");
    };
    check(100, 0, &[100]);
    check(40, 0, &[40, 40, 20]);
    check(8192, 30, &[30, 30, 30, 10]);
    check(20, 30, &[20; 5]);
    check(33, 0, &[33, 33, 33, 1]);
}

/// Twelve blocks of one token, two requests that come to hold nine each: the later one gives way when both hold six,
/// waits until the other is through, and then computes the seven tokens it had reached in one step.
#[test]
fn the_latest_gives_way_and_comes_back() {
    let mut cluster = ClusterPlan::lone_instances(1);
    let member = &mut cluster.groups[0].members[0];
    (member.block_size, member.spare_kv_blocks) = (1, 3);
    let run = run(cluster, vec![SessionPlan::plain(0, 4, 6), SessionPlan::plain(0, 4, 6)]);
    let times = Affine::default();
    let both_ns = |tokens: u64, kv_tokens: u64| dense_step_ns(tokens, 2, times.attention_ns(tokens, kv_tokens));
    let alone: Vec<u64> = [6, 7, 8].map(|history| alone_ns(1, history)).to_vec();
    let together = [both_ns(2, 2 * 4), both_ns(2, 2 * 5)];
    let [first, second] = [0, 1].map(|id| run.by_id()[id]);
    assert_eq!([first.ttft.ns(), second.ttft.ns()], [both_ns(8, 0); 2]);
    assert_eq!(itl_ns(first), [&together[..], &alone].concat());
    let resumed_ns = alone.iter().sum::<u64>() + alone_ns(7, 0);
    assert_eq!(itl_ns(second), [&together[..], &[resumed_ns, alone_ns(1, 7), alone_ns(1, 8)]].concat());
    assert_eq!((first.preemptions, second.preemptions), (0, 1));
    let expected = InstanceTotals {
        finished_requests: 2,
        prompt_tokens: 4 + 4 + 7,
        generated_tokens: 12,
        preemptions: 1,
        recomputed_tokens: 7,
        steps: 3 + 3 + 3,
        ..Default::default()
    };
    assert_eq!(run.totals.instances, [expected]);
}

const LINK_GIB_PER_S: f64 = 16.0;
const LINK_LATENCY_NS: f64 = 500.0;

/// One message to the neighbour.
pub(crate) fn hop_ns(bytes: u64) -> u64 {
    let bytes_per_ns = LINK_GIB_PER_S * f64::from(1 << 30) / 1e9;
    (LINK_LATENCY_NS + bytes as f64 / bytes_per_ns) as u64
}

/// One message of a collective, and the endpoint's delay after it.
fn message_ns(bytes: u64) -> u64 {
    hop_ns(bytes) + ENDPOINT_DELAY_NS
}

/// Two reads and a write of what arrived.
fn reduction_ns(bytes: u64) -> u64 {
    3 * (bytes / LOCAL_MEMORY_GB_PER_S)
}

pub(crate) fn with_links(mut cluster: ClusterPlan) -> ClusterPlan {
    (cluster.link_gib_per_s, cluster.link_latency_ns) = (LINK_GIB_PER_S, LINK_LATENCY_NS);
    cluster
}

#[test]
fn tensor_parallelism_adds_two_all_reduces_to_each_block() {
    let check = |tp: u32, prompt: u64| {
        let cluster = with_links(ClusterPlan::new(vec![GroupPlan::dense(tp)]));
        let run = run(cluster, vec![SessionPlan::plain(0, prompt, 2)]);
        let all_reduce_ns = |tokens: u64| {
            let (members, share) = (u64::from(tp), tokens * HIDDEN_SIZE * ELEMENT_BYTES / u64::from(tp));
            ENDPOINT_DELAY_NS + (members - 1) * (2 * message_ns(share) + reduction_ns(share))
        };
        let step_ns = |tokens, history| alone_ns(tokens, history) + 2 * NUM_BLOCKS * all_reduce_ns(tokens);
        let request = &run.finished[0];
        assert_eq!(request.ttft.ns(), step_ns(prompt, 0), "{prompt} prompt tokens on {tp} NPUs");
        assert_eq!(itl_ns(request), [step_ns(1, prompt)], "{prompt} prompt tokens on {tp} NPUs");
        let bytes = 2 * NUM_BLOCKS * (prompt + 1) * HIDDEN_SIZE * ELEMENT_BYTES;
        assert_eq!(run.totals.groups[0].collective_bytes, [bytes, 0, 0, 0]);
    };
    check(2, 2);
    check(2, 100);
    check(3, 1000);
}

/// What is read off a curve takes the place of messages and all that goes with them.
#[test]
fn a_measured_all_reduce_takes_what_was_measured() {
    let check = |prompt: u64, all_reduce_ns: u64| {
        let mut cluster = with_links(ClusterPlan::new(vec![GroupPlan::dense(2)]));
        cluster.is_measured = true;
        let run = run(cluster, vec![SessionPlan::plain(0, prompt, 1)]);
        let expected = alone_ns(prompt, 0) + 2 * NUM_BLOCKS * all_reduce_ns;
        assert_eq!(run.finished[0].ttft.ns(), expected, "{prompt} prompt tokens");
    };
    // 1,100 ns up to 64 bytes, 3,300 ns at 4,096 bytes, a line through both from there on.
    const TOKEN_BYTES: u64 = HIDDEN_SIZE * ELEMENT_BYTES;
    let on_line = |bytes: u64| (1100.0 + 2200.0 * (bytes as f64 - 64.0) / 4032.0).round() as u64;
    for prompt in [1, 10, 100] {
        check(prompt, on_line(prompt * TOKEN_BYTES));
    }
}

const NUM_EXPERTS: u64 = 8;

/// Two members of one NPU each, over which the experts are spread. Operators take the same time whatever they work on,
/// so a dummy keeps pace to the nanosecond and only collectives tell the size of a step.
fn expert_group(base_ns: u64, num_blocks: u64) -> GroupPlan {
    let latency = Affine { base_ns, per_token_ns: 0, per_kv_token_ns: 0 };
    let experts = ExpertPlan { local_ep: 1, count: NUM_EXPERTS as u32, per_token: 2 };
    let members = vec![MemberPlan { latency, ..Default::default() }; 2];
    GroupPlan { num_blocks, experts: Some(experts), members, ..GroupPlan::default() }
}

/// All that a step of such a member computes, its experts left out.
fn all_but_experts_ns(base_ns: u64, num_blocks: u64) -> u64 {
    use Layer::{Attention, Embedding, FinalLayernorm, Layernorm, LmHead, OProj, QkvProj, RotaryEmb, Sampler};
    let times = Affine { base_ns, per_token_ns: 0, per_kv_token_ns: 0 };
    let sum = |layers: &[Layer]| layers.iter().map(|&layer| times.layer_ns(layer, 0)).sum::<u64>();
    num_blocks * sum(&[Layernorm, QkvProj, RotaryEmb, Attention, OProj, Layernorm])
        + sum(&[Embedding, FinalLayernorm, LmHead, Sampler])
}

/// Bytes that an all-gather and a reduce-scatter of so many tokens take in.
fn expert_bytes(tokens: u64) -> (u64, u64) {
    let gathered = (tokens / 2).max(1) * (HIDDEN_SIZE + NUM_EXPERTS) * ELEMENT_BYTES;
    (gathered, tokens * HIDDEN_SIZE * ELEMENT_BYTES)
}

#[test]
fn a_dummy_takes_part_in_collectives_of_the_full_size() {
    const BASE_NS: u64 = 100;
    const NUM_OUTPUT: u64 = 3;
    let experts_ns = BASE_NS * (Layer::Moe as u64 + 1);
    let layers_ns = all_but_experts_ns(BASE_NS, NUM_BLOCKS) + NUM_BLOCKS * experts_ns;
    let check = |backend: All2AllBackend, prompt: u64| {
        let mut cluster = with_links(ClusterPlan::new(vec![expert_group(BASE_NS, NUM_BLOCKS)]));
        cluster.options.all2all_backend = backend;
        let run = run(cluster, vec![SessionPlan::plain(0, prompt, NUM_OUTPUT)]);
        // Of tokens: the bytes of the four kinds of collective in one block, and the time of one step.
        let expected = |tokens: u64| {
            let (gathered, hidden) = expert_bytes(tokens);
            let (bytes, dispatch_ns, combine_ns) = match backend {
                All2AllBackend::AllGatherReduceScatter => {
                    let scatter_ns = message_ns(hidden / 2) + reduction_ns(hidden / 2);
                    ([0, gathered, hidden, 0], message_ns(gathered), scatter_ns)
                }
                All2AllBackend::AllToAll => ([0, 0, 0, 2 * hidden], message_ns(hidden / 2), message_ns(hidden / 2)),
            };
            (bytes, layers_ns + NUM_BLOCKS * (2 * ENDPOINT_DELAY_NS + dispatch_ns + combine_ns))
        };
        let ((prefill_bytes, prefill_ns), (decode_bytes, decode_ns)) = (expected(prompt), expected(1));
        let request = &run.finished[0];
        assert_eq!(request.ttft.ns(), prefill_ns, "{backend}, {prompt} prompt tokens");
        assert_eq!(itl_ns(request), [decode_ns; NUM_OUTPUT as usize - 1], "{backend}, {prompt} prompt tokens");
        let bytes = |kind: usize| NUM_BLOCKS * (prefill_bytes[kind] + (NUM_OUTPUT - 1) * decode_bytes[kind]);
        assert_eq!(run.totals.groups[0].collective_bytes, [0, 1, 2, 3].map(bytes), "{backend}");

        let idle = InstanceTotals { steps: NUM_OUTPUT, dummy_steps: NUM_OUTPUT, ..Default::default() };
        assert_eq!(run.totals.instances[1], idle);
        let sizes: Vec<u64> = run.waves.iter().map(|wave| wave.padded_tokens).collect();
        assert_eq!(sizes, [prompt, 1, 1]);
    };
    for backend in All2AllBackend::ALL {
        check(*backend, 1);
        check(*backend, 2);
        check(*backend, 101);
    }
}

/// Two members that only step together: no collective joins them. The one with the shorter prompt computes as many rows
/// as the other, but attends to no more than it has, and begins its second step when both are through the first.
#[test]
fn the_smaller_step_is_padded_to_the_larger() {
    let check = |long: u64, short: u64| {
        let mut cluster = ClusterPlan::new(vec![GroupPlan::dense(1)]);
        cluster.groups[0].members = vec![MemberPlan::default(); 2];
        let run = run(cluster, vec![SessionPlan::plain(0, long, 2), SessionPlan::plain(0, short, 2)]);
        let [larger, smaller] = [0, 1].map(|id| run.by_id()[id]);
        assert_eq!([larger, smaller].map(|request| request.instance.index()), [0, 1]);
        let times = Affine::default();
        let padded_ns = dense_step_ns(long, 1 + long - short, times.attention_ns(short, 0));
        assert_eq!((larger.ttft.ns(), smaller.ttft.ns()), (alone_ns(long, 0), padded_ns), "{short} beside {long}");
        // In the second step both have one token.
        let both_through_ns = larger.ttft.ns().max(smaller.ttft.ns());
        assert_eq!(larger.end.ns(), both_through_ns + alone_ns(1, long));
        assert_eq!(smaller.end.ns(), both_through_ns + alone_ns(1, short));
    };
    check(100, 10);
    check(100, 99);
    check(50, 50);
}

/// Every token takes the first experts, and they are all on the first member. The second has nothing to compute and
/// sends its share while the first one does.
#[test]
fn a_member_without_tokens_for_its_experts_does_not_compute_them() {
    let check = |base_ns: u64, prompt: u64| {
        let mut cluster = with_links(ClusterPlan::new(vec![expert_group(base_ns, 1)]));
        cluster.options.expert_routing = moe::Policy::RoundRobin;
        let run = run(cluster, vec![SessionPlan::plain(0, prompt, 1)]);
        let (gathered, hidden) = expert_bytes(prompt);
        let dispatch_ns = ENDPOINT_DELAY_NS + message_ns(gathered);
        // What the first member awaits left the other one when the tokens were there.
        let experts_ns = base_ns * (Layer::Moe as u64 + 1);
        let experts_or_wire_ns = experts_ns.max(message_ns(hidden / 2) - ENDPOINT_DELAY_NS);
        let combine_ns = 2 * ENDPOINT_DELAY_NS + experts_or_wire_ns + reduction_ns(hidden / 2);
        let expected = all_but_experts_ns(base_ns, 1) + dispatch_ns + combine_ns;
        assert_eq!(run.finished[0].ttft.ns(), expected, "{prompt} prompt tokens, layers from {base_ns} ns");
    };
    check(10, 100);
    check(100, 100);
}

/// Twenty choices of ten tokens reach all eight experts, or the same one where routing is of that kind.
#[test]
fn an_instance_may_have_its_own_expert_routing() {
    let ttft_ns = |takes_one_expert| {
        let experts = Some(ExpertPlan { local_ep: 1, count: NUM_EXPERTS as u32, per_token: 2 });
        let cluster = ClusterPlan::new(vec![GroupPlan { experts, takes_one_expert, ..GroupPlan::default() }]);
        run(cluster, vec![SessionPlan::plain(0, 10, 1)]).finished[0].ttft.ns()
    };
    let times = Affine::default();
    let spared_ns = NUM_BLOCKS * (times.experts_ns(10, NUM_EXPERTS) - times.experts_ns(10, 1));
    assert_eq!(ttft_ns(false) - ttft_ns(true), spared_ns);
}
