//! What overlaps in a pass that is more than a chain of ops, on runs small enough to add up by hand.
//!
//! Links take time here where messages are the point, host memory where loads are; all else is free but operators.

use engine::{Deployment, Role};
use model::Layer;

use crate::closed_form::{NUM_BLOCKS, alone_ns, dense_step_ns, hop_ns, itl_ns, with_links};
use crate::common::{
    Affine, CallPlan, Case, ClusterPlan, ELEMENT_BYTES, GroupPlan, HIDDEN_SIZE, Ids, MemberPlan, PimPlan, Place,
    PlacementPlan, SessionPlan, TierPlan,
};

/// Layers of a dense block before attention, and after it.
const PRE_ATTN: [Layer; 3] = [Layer::Layernorm, Layer::QkvProj, Layer::RotaryEmb];
const POST_ATTN: [Layer; 5] = [Layer::OProj, Layer::Layernorm, Layer::GateUpProj, Layer::ActFn, Layer::DownProj];

/// Bytes of keys and values of a token in one block: six heads of eight elements each.
const KV_BYTES: u64 = 2 * 6 * 8 * ELEMENT_BYTES;

fn sum_ns(times: Affine, layers: &[Layer], tokens: u64) -> u64 {
    layers.iter().map(|&layer| times.layer_ns(layer, tokens)).sum()
}

fn lone(member: MemberPlan) -> ClusterPlan {
    ClusterPlan::new(vec![GroupPlan { members: vec![member], ..GroupPlan::default() }])
}

/// Stages are passed one after the other, with one message between them.
#[test]
fn a_request_by_itself_gains_nothing_from_stages() {
    let check = |prompt: u64| {
        let cluster = with_links(ClusterPlan::new(vec![GroupPlan { pp: 2, ..GroupPlan::default() }]));
        let run = Case { cluster, workload: vec![SessionPlan::plain(0, prompt, 3)] }.run();
        let step_ns = |tokens: u64, history| alone_ns(tokens, history) + hop_ns(tokens * HIDDEN_SIZE * ELEMENT_BYTES);
        assert_eq!(run.finished[0].ttft.ns(), step_ns(prompt, 0), "{prompt} prompt tokens");
        assert_eq!(itl_ns(&run.finished[0]), [step_ns(1, prompt), step_ns(1, prompt + 1)], "{prompt} prompt tokens");
    };
    check(1);
    check(100);
    check(2000);
}

/// As many requests as stages, that fill a step each, are in a batch each from then on. A stage is through with a batch
/// when it has handed it on, so a token of all takes as long as the slowest stage needs for all. Blocks that are left over
/// go to the stages before the last.
#[test]
fn batches_take_turns_on_stages() {
    const PROMPT: u64 = 50;
    let check = |base_ns: u64, blocks_of_stages: &[u64]| {
        let latency = Affine { base_ns, per_token_ns: 0, per_kv_token_ns: 0 };
        let member = MemberPlan { latency, step_tokens: PROMPT, ..MemberPlan::default() };
        let (pp, num_blocks) = (blocks_of_stages.len(), blocks_of_stages.iter().sum());
        let group = GroupPlan { pp: pp as u32, num_blocks, members: vec![member], ..GroupPlan::default() };
        let cluster = with_links(ClusterPlan::new(vec![group]));
        let run = Case { cluster, workload: vec![SessionPlan::plain(0, PROMPT, 12); pp] }.run();

        let block_ns = sum_ns(latency, &[&PRE_ATTN[..], &POST_ATTN].concat(), 0) + latency.attention_ns(0, 0);
        let stage_ns = |(stage, blocks): (usize, &u64)| {
            let is_last = stage + 1 == pp;
            let embedding_ns = if stage == 0 { latency.layer_ns(Layer::Embedding, 0) } else { 0 };
            let head_ns = sum_ns(latency, &[Layer::FinalLayernorm, Layer::LmHead, Layer::Sampler], 0);
            let end_ns = if is_last { head_ns } else { hop_ns(HIDDEN_SIZE * ELEMENT_BYTES) };
            embedding_ns + blocks * block_ns + end_ns
        };
        let slowest_ns = blocks_of_stages.iter().enumerate().map(stage_ns).max().expect("a stage");
        for request in &run.finished {
            assert_eq!(itl_ns(request)[6..], [pp as u64 * slowest_ns; 5], "{blocks_of_stages:?} from {base_ns} ns");
        }
    };
    // The first stage with its message takes longer where layers are short, the last stage with the head otherwise.
    for base_ns in [1, 30, 500] {
        check(base_ns, &[1, 1]);
        check(base_ns, &[2, 1]);
        check(base_ns, &[1, 2, 1]);
    }
}

/// The KV of a block leaves when it is projected, beside all that follows; messages go one by one. The output goes last.
#[test]
fn kv_goes_out_beside_the_prompt() {
    let check = |base_ns: u64, prompt: u64| {
        let latency = Affine { base_ns, ..Affine::default() };
        let member = MemberPlan { latency, ..MemberPlan::default() };
        let group = |role| GroupPlan { role, members: vec![member], ..GroupPlan::default() };
        let cluster = with_links(ClusterPlan::new([Role::Prefill, Role::Decode].map(group).to_vec()));
        let run = Case { cluster, workload: vec![SessionPlan::plain(0, prompt, 3)] }.run();

        let before_kv_ns = sum_ns(latency, &[Layer::Layernorm, Layer::QkvProj], prompt);
        let block_ns = sum_ns(latency, &[&PRE_ATTN[..], &POST_ATTN].concat(), prompt) + latency.attention_ns(prompt, 0);
        let embedding_ns = latency.layer_ns(Layer::Embedding, prompt);
        let head_ns =
            latency.layer_ns(Layer::FinalLayernorm, prompt) + sum_ns(latency, &[Layer::LmHead, Layer::Sampler], 1);
        let projected_ns = (0..NUM_BLOCKS).map(|block| embedding_ns + block * block_ns + before_kv_ns);
        let sent_ns = projected_ns.fold(0, |sent_ns, at: u64| at.max(sent_ns) + hop_ns(KV_BYTES * prompt));
        let computed_ns = embedding_ns + NUM_BLOCKS * block_ns + head_ns;

        let request = &run.finished[0];
        assert_eq!(request.instance.index(), 1, "the decode instance has the last token");
        assert_eq!(
            request.ttft.ns(),
            computed_ns.max(sent_ns) + hop_ns(4 * prompt),
            "{prompt} tokens from {base_ns} ns"
        );
        let decode_ns = |history| {
            let attention_ns = latency.attention_ns(1, history);
            let block_ns = sum_ns(latency, &[&PRE_ATTN[..], &POST_ATTN].concat(), 1) + attention_ns;
            let ends = [Layer::Embedding, Layer::FinalLayernorm, Layer::LmHead, Layer::Sampler];
            NUM_BLOCKS * block_ns + sum_ns(latency, &ends, 1)
        };
        assert_eq!(itl_ns(request), [decode_ns(prompt), decode_ns(prompt + 1)]);
        sent_ns > computed_ns
    };
    let link_bound = [(1, 10), (1, 1000), (300, 10), (300, 1000)].map(|(base_ns, prompt)| check(base_ns, prompt));
    assert!(link_bound.contains(&true) && link_bound.contains(&false), "{link_bound:?}");
}

/// Two requests that come together, each to an instance with memory of its own: neither is in the other's way.
#[test]
fn nodes_attend_in_their_own_memory() {
    let ends_ns = |num_requests: usize| {
        let pim = PimPlan { num_channels: 4, channel_split: 4, ns_per_token: 1.5, fixed_ns: 900.0, interleaves: false };
        let member = |node| MemberPlan { node, pim: Some(pim), ..MemberPlan::default() };
        let group = |node| GroupPlan { members: vec![member(node)], ..GroupPlan::default() };
        let cluster = ClusterPlan { num_nodes: 2, ..ClusterPlan::new([0, 1].map(group).to_vec()) };
        let workload = vec![SessionPlan::plain(0, 100, 3); num_requests];
        Case { cluster, workload }.run().finished.iter().map(|request| request.end.ns()).max()
    };
    assert_eq!(ends_ns(2), ends_ns(1));
}

/// Loads wait for nothing but each other, and a layer for its weights and the layer before.
#[test]
fn weights_on_the_host_are_fetched_ahead() {
    const PROMPT: u64 = 20;
    let times = Affine::default();
    let run = |host_gb_per_s: f64, loads_npu_weights: bool| -> (u64, Deployment) {
        let weights = if loads_npu_weights { Place::Npu } else { Place::Host };
        let placement = PlacementPlan { weights, loads_npu_weights, ..PlacementPlan::default() };
        let mut cluster = lone(MemberPlan { placement, ..MemberPlan::default() });
        cluster.host_gb_per_s = host_gb_per_s;
        let case = Case { cluster, workload: vec![SessionPlan::plain(0, PROMPT, 1)] };
        (case.run().finished[0].ttft.ns(), case.deployment())
    };
    let (ends, blocks) = (
        [vec![Layer::Embedding], vec![Layer::FinalLayernorm, Layer::LmHead, Layer::Sampler]],
        [&PRE_ATTN[..], &[Layer::Attention], &POST_ATTN].concat().repeat(NUM_BLOCKS as usize),
    );
    let layers = [ends[0].clone(), blocks, ends[1].clone()].concat();
    let compute_ns = |layer: Layer| match layer {
        Layer::LmHead | Layer::Sampler => times.layer_ns(layer, 1),
        Layer::Attention => times.attention_ns(PROMPT, 0),
        _ => times.layer_ns(layer, PROMPT),
    };
    let mut is_load_bound = Vec::new();
    for host_gb_per_s in [1, 40, 1_000_000_000] {
        let (ttft_ns, deployment) = run(host_gb_per_s as f64, false);
        let weight_bytes = |layer| deployment.instances[0].model.sizes(layer, PROMPT, 0, 1, ELEMENT_BYTES).weight;
        // After the input, the device is free for the first layer's weights.
        let (mut loaded_ns, mut computed_ns) = (2 * PROMPT * ELEMENT_BYTES / host_gb_per_s, 0);
        computed_ns = computed_ns.max(loaded_ns);
        for &layer in &layers {
            loaded_ns += weight_bytes(layer) / host_gb_per_s;
            let ready_ns = if weight_bytes(layer) > 0 { loaded_ns } else { 0 };
            computed_ns = computed_ns.max(ready_ns) + compute_ns(layer);
        }
        assert_eq!(ttft_ns, computed_ns + 4 * PROMPT / host_gb_per_s, "{host_gb_per_s} GB/s");
        is_load_bound.push(computed_ns == loaded_ns + compute_ns(Layer::LmHead) + compute_ns(Layer::Sampler));
    }
    assert_eq!(is_load_bound, [true, false, false]);
    assert_eq!(run(1e9, false).0, alone_ns(PROMPT, 0), "free loads leave the chain of layers");
    assert!(run(1e9, true).0 > alone_ns(PROMPT, 0), "the NPU's own memory takes its time");
}

/// The NPU's cache has room for one prompt, so the second drives out the first, whose blocks come back from the tier for
/// the third. Input waits for them on the host, and the one token that is left to compute for both.
#[test]
fn a_lost_prefix_comes_back_from_the_host() {
    const PROMPT: u64 = 21;
    const HOST_LATENCY_NS: u64 = 70;
    let tier = Some(TierPlan { factor: 2, num_blocks: 100 });
    let member = MemberPlan { block_size: 1, spare_kv_blocks: 0, prefix_caching: true, tier, ..MemberPlan::default() };
    let mut cluster = lone(member);
    (cluster.host_gb_per_s, cluster.host_latency_ns) = (1.0, HOST_LATENCY_NS as f64);
    let session = |arrival_ns, family| {
        let ids = Ids::Shared { family, tokens: PROMPT as u32 };
        SessionPlan { arrival_ns, calls: vec![CallPlan { input_tokens: PROMPT, output_tokens: 1, tool_ns: 0, ids }] }
    };
    let workload = vec![session(0, 0), session(1_000_000, 1), session(2_000_000, 0)];
    let run = Case { cluster, workload }.run();
    let transfer_ns = |bytes: u64| HOST_LATENCY_NS + bytes;
    let recall_ns = transfer_ns(NUM_BLOCKS * KV_BYTES * (PROMPT - 1));
    let (input_ns, output_ns) = (transfer_ns(2 * ELEMENT_BYTES), transfer_ns(4));
    let last = run.by_id()[2];
    assert_eq!(last.prefix_hit_tokens, PROMPT - 1);
    assert_eq!(run.totals.instances[0].tier_hit_tokens, PROMPT - 1);
    assert_eq!(last.ttft.ns(), recall_ns + input_ns + alone_ns(1, PROMPT - 1) + output_ns);
}

/// Attention of a decode takes as long as its share on one channel, and of a prompt as long as ever.
#[test]
fn a_decode_attends_in_memory() {
    const HOST_LATENCY_NS: u64 = 70;
    let check = |prompt: u64, channel_split: u32| {
        let pim = PimPlan { num_channels: 4, channel_split, ns_per_token: 1.5, fixed_ns: 900.0, interleaves: false };
        let mut cluster = lone(MemberPlan { pim: Some(pim), ..MemberPlan::default() });
        cluster.host_latency_ns = HOST_LATENCY_NS as f64;
        let run = Case { cluster, workload: vec![SessionPlan::plain(0, prompt, 3)] }.run();
        let decode_ns = |history: u64| {
            let kv_tokens = history + 1;
            let pim_ns = ((1.5 * kv_tokens as f64 + 900.0) / f64::from(channel_split)) as u64 + HOST_LATENCY_NS;
            dense_step_ns(1, 1, pim_ns) + 2 * HOST_LATENCY_NS
        };
        assert_eq!(run.finished[0].ttft.ns(), alone_ns(prompt, 0) + 2 * HOST_LATENCY_NS, "{prompt} prompt tokens");
        assert_eq!(itl_ns(&run.finished[0]), [decode_ns(prompt), decode_ns(prompt + 1)], "{prompt} prompt tokens");
    };
    check(2, 1);
    check(333, 1);
    check(333, 3);
}

/// The longest sequence has one channel to itself, the two others follow each other on the other one.
#[test]
fn the_longest_is_packed_first() {
    let pim = PimPlan { num_channels: 2, channel_split: 1, ns_per_token: 2.0, fixed_ns: 5.0, interleaves: false };
    let workload = [99, 299, 199].map(|prompt| SessionPlan::plain(0, prompt, 2)).to_vec();
    let run = Case { cluster: lone(MemberPlan { pim: Some(pim), ..MemberPlan::default() }), workload }.run();
    let channels_ns = [2 * 300 + 5, 2 * 200 + 5 + 2 * 100 + 5];
    let step_ns = dense_step_ns(3, 3, channels_ns.into_iter().max().expect("a channel"));
    run.finished.iter().for_each(|request| assert_eq!(itl_ns(request), [step_ns]));
}

/// Where one half's attention takes less time than the other half's layers, it takes none.
#[test]
fn halves_hide_each_others_attention() {
    const PROMPT: u64 = 30;
    let itls_ns = |interleaves: bool| {
        let pim = PimPlan { num_channels: 2, channel_split: 1, ns_per_token: 2.0, fixed_ns: 5.0, interleaves };
        let cluster = lone(MemberPlan { pim: Some(pim), ..MemberPlan::default() });
        let run = Case { cluster, workload: vec![SessionPlan::plain(0, PROMPT, 3); 2] }.run();
        let prefill_ns = if interleaves {
            2 * alone_ns(PROMPT, 0)
        } else {
            dense_step_ns(2 * PROMPT, 2, Affine::default().attention_ns(2 * PROMPT, 0))
        };
        run.finished.iter().for_each(|request| assert_eq!(request.ttft.ns(), prefill_ns));
        itl_ns(&run.finished[0])
    };
    assert_eq!(itls_ns(true), [2 * dense_step_ns(1, 1, 0); 2]);
    let pim_ns = |history: u64| 2 * (history + 1) + 5;
    assert_eq!(itls_ns(false), [PROMPT, PROMPT + 1].map(|history| dense_step_ns(2, 2, pim_ns(history))));
}

/// Two NPUs bring back half of a prefix each, one after the other; their inputs come first, from the same host.
#[test]
fn every_rank_recalls_its_own_share() {
    let ttft_ns = |tp: u32| {
        let tier = Some(TierPlan { factor: 2, num_blocks: 10_000 });
        let member =
            MemberPlan { block_size: 1, spare_kv_blocks: 0, prefix_caching: true, tier, ..MemberPlan::default() };
        let mut cluster =
            with_links(ClusterPlan::new(vec![GroupPlan { tp, members: vec![member], ..GroupPlan::default() }]));
        cluster.host_gb_per_s = 1.0;
        let session = |second: u64, family| {
            let ids = Ids::Shared { family, tokens: 2001 };
            let calls = vec![CallPlan { input_tokens: 2001, output_tokens: 1, tool_ns: 0, ids }];
            SessionPlan { arrival_ns: second * 1_000_000_000, calls }
        };
        let run = Case { cluster, workload: vec![session(0, 0), session(1, 1), session(2, 0)] }.run();
        assert!(run.totals.instances[0].tier_hit_tokens > 0);
        run.by_id()[2].ttft.ns() as f64
    };
    // The prefix is long, so hardly anything else counts.
    let ratio = ttft_ns(2) / ttft_ns(1);
    assert!((0.95..1.05).contains(&ratio), "{ratio}");
}
