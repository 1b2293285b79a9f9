//! A run of some size, to see how fast it goes.

use std::time;

use crate::common::{CallPlan, ClusterPlan, ExpertPlan, GroupPlan, Ids, MemberPlan, Run, SessionPlan, entries};

const NUM_REQUESTS: u64 = 5_000;

/// Four groups of four members with a shared prefix cache each, and a stream of requests that keeps them busy.
#[test]
fn sixteen_instances_serve_five_thousand_requests() {
    let member = MemberPlan { max_num_seqs: Some(128), step_tokens: 2048, prefix_caching: true, ..Default::default() };
    let experts = ExpertPlan { local_ep: 1, count: 64, per_token: 8 };
    let members = vec![member; 4];
    let group = GroupPlan { num_blocks: 48, qk_norm: true, experts: Some(experts), members, ..GroupPlan::default() };
    let mut cluster = ClusterPlan::new(vec![group; 4]);
    cluster.link_gib_per_s = 100.0;
    cluster.link_latency_ns = 500.0;
    cluster.options.log_interval = units::Duration::from_ns(100_000_000);
    let request = |index: u64| SessionPlan {
        arrival_ns: index * 200_000,
        calls: vec![CallPlan {
            input_tokens: 50 + index * 37 % 700,
            output_tokens: 1 + index * 53 % 200,
            tool_ns: 0,
            ids: Ids::Shared { family: (index % 7) as u32, tokens: 256 },
        }],
    };
    let workload: Vec<SessionPlan> = (0..NUM_REQUESTS).map(request).collect();
    let entries = entries(&workload);
    let deployment = cluster.deployment(&entries);

    let begin = time::Instant::now();
    let run = Run::of(&deployment, &entries);
    let seconds = begin.elapsed().as_secs_f64();
    assert_eq!(run.finished.len() as u64, NUM_REQUESTS);
    let tokens: u64 = run.totals.instances.iter().map(|totals| totals.generated_tokens).sum();
    println!(
        "{NUM_REQUESTS} requests, {tokens} tokens, {} waves in {seconds:.2} s: {:.0} requests/s, {:.1} simulated s",
        run.waves.len(),
        NUM_REQUESTS as f64 / seconds,
        run.totals.end.secs_f64(),
    );
}
