//! What shall arrive, and how much of what instances can do is asked of them.

use std::collections::BTreeMap;

use engine::{Call, Deployment, Entry, Role};
use units::{Duration, Instant};

use crate::instances::role_name;
use crate::{GroupKind, Load, Step, Tokens, WorkloadSection};

/// What is counted while a workload is read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkloadFacts {
    requests: u64,
    sessions: u64,
    input: Count,
    output: Count,
    /// Tokens whose KV a request holds at its end.
    held: Count,
    /// Requests that have a second token to generate.
    decoded: u64,
    first: Option<Instant>,
    last: Instant,
    tool_time: Duration,
    has_token_ids: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    total: u64,
    min: Option<u64>,
    max: u64,
}

impl Count {
    fn add(&mut self, number: u64) {
        self.total = self.total.saturating_add(number);
        self.min = Some(self.min.map_or(number, |min| min.min(number)));
        self.max = self.max.max(number);
    }

    /// The mean of `count` numbers, rounded up.
    fn mean_up(self, count: u64) -> u64 {
        self.total.div_ceil(count.max(1))
    }

    fn tokens(self, count: u64) -> Tokens {
        let mean = self.total as f64 / count.max(1) as f64;
        Tokens { total: self.total, mean, min: self.min.unwrap_or(0), max: self.max }
    }
}

impl WorkloadFacts {
    /// Counts an entry.
    pub fn add(&mut self, entry: &Entry) {
        self.arrive(entry.arrival);
        self.sessions += u64::from(entry.num_calls() > 1);
        for call in entry.calls() {
            self.call(call);
        }
        // After the last call nobody waits.
        self.tool_time += entry.calls().take(entry.num_calls() - 1).map(|call| call.tool_time).sum::<Duration>();
    }

    /// Counts arrivals anew, where they are not those of the entries.
    pub fn replace_arrivals(&mut self, arrivals: impl IntoIterator<Item = Instant>) {
        self.first = None;
        arrivals.into_iter().for_each(|arrival| self.arrive(arrival));
    }

    fn arrive(&mut self, arrival: Instant) {
        self.last = self.first.map_or(arrival, |_| self.last.max(arrival));
        self.first = Some(self.first.map_or(arrival, |first| first.min(arrival)));
    }

    fn call(&mut self, call: &Call) {
        self.requests += 1;
        self.input.add(call.input_tokens);
        self.output.add(call.output_tokens);
        // The last token generated is never computed.
        self.held.add(call.input_tokens + call.output_tokens - 1);
        self.decoded += u64::from(call.output_tokens > 1);
        self.has_token_ids |= !call.input_ids.is_empty();
    }

    /// Requests, every call of a session counted.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// Whether any prompt lists token ids.
    pub fn has_token_ids(&self) -> bool {
        self.has_token_ids
    }

    /// Tokens whose KV the mean and the longest request hold at their end on an instance of this role.
    pub(crate) fn kv_tokens(&self, role: Role) -> (u64, u64) {
        let held = if role == Role::Prefill { self.input } else { self.held };
        (held.mean_up(self.requests), held.max)
    }

    /// Tokens of the mean prompt, at least one.
    pub(crate) fn mean_prompt(&self) -> u64 {
        self.input.mean_up(self.requests).max(1)
    }

    /// Tokens of KV that a request has when it is halfway through decoding.
    pub(crate) fn mean_context(&self) -> u64 {
        self.mean_prompt() + self.output.mean_up(self.requests) / 2
    }

    pub(crate) fn section(&self, deployment: &Deployment, groups: &[GroupKind], steps: &[Step]) -> WorkloadSection {
        let first = self.first.unwrap_or_default();
        let span_s = (self.last - first).secs_f64();
        let rate = |count: u64| (span_s > 0.0).then(|| count as f64 / span_s);
        let first_tokens = if deployment.instances.iter().any(|instance| instance.skips_prefill) {
            self.requests
        } else {
            self.input.total
        };
        // A prompt's last step gives the first token.
        let decoded = self.output.total - self.requests;
        let offered = [rate(first_tokens), rate(decoded)];
        WorkloadSection {
            requests: self.requests,
            sessions: self.sessions,
            prompt: self.input.tokens(self.requests),
            output: self.output.tokens(self.requests),
            first_arrival_s: (first - Instant::ZERO).secs_f64(),
            last_arrival_s: (self.last - Instant::ZERO).secs_f64(),
            requests_per_s: rate(self.requests),
            prompt_tokens_per_s: rate(self.input.total),
            output_tokens_per_s: rate(self.output.total),
            tool_time_s: self.tool_time.secs_f64(),
            has_token_ids: self.has_token_ids,
            load: loads(offered, deployment, groups, steps),
        }
    }
}

/// By role, what its instances could do, and how much of that is asked.
fn loads(
    [prompt, output]: [Option<f64>; 2],
    deployment: &Deployment,
    groups: &[GroupKind],
    steps: &[Step],
) -> Vec<Load> {
    let mut capacities: BTreeMap<&'static str, [f64; 2]> = BTreeMap::new();
    for group in groups {
        let Some(first) = group.first_members.first() else { continue };
        let role = deployment.instances[first as usize].role;
        for step in steps.iter().filter(|step| step.groups == group.groups) {
            let kind = match step.name {
                "prefill" => 0,
                "decode" => 1,
                _ => continue,
            };
            let seconds = step.time_ns.max(1) as f64 / 1e9;
            // Stages work beside each other, each on a batch of its own.
            let stages = f64::from(deployment.instances[first as usize].pp);
            let rate = step.tokens as f64 * stages / seconds * group.instances.count() as f64;
            capacities.entry(role_name(role)).or_default()[kind] += rate;
        }
    }
    let load = |(role, capacity): (&'static str, [f64; 2])| {
        let [prompt_max, output_max] = capacity.map(|rate| (rate > 0.0).then_some(rate));
        let of = |rate: Option<f64>, most: Option<f64>| most.map_or(Some(0.0), |most| Some(rate? / most));
        Load {
            role,
            prompt_tokens_per_s_max: prompt_max,
            output_tokens_per_s_max: output_max,
            share: of(prompt, prompt_max).zip(of(output, output_max)).map(|(prompt, output)| prompt + output),
        }
    };
    capacities.into_iter().map(load).collect()
}
