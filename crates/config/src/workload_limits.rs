//! Which requests a deployment can serve.
//!
//! A request may be routed to any instance, and a waiting request that can never start would wait for ever, with all
//! behind it. So each must fit every instance it can reach: its sequence in the model and in an empty KV cache, and,
//! where prompts are not split, its prompt in one step; `long_prefill_token_threshold` caps what is asked of a step and
//! so lifts the last limit.
//!
//! A prefill instance holds the prompt alone. A decode instance takes over KV that is there already, however long, and
//! only of requests that have a second token to generate. Requests that bring their KV along have one token to compute.

use diagnostics::{Fault, Faults};
use engine::{Call, Deployment, Entry, InstanceSpec, Role};
use units::InstanceId;

/// The longest requests that fit every instance of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadLimits {
    /// Prompt and output together.
    sequence: Limit,
    /// Tokens whose KV is held, by the part of a request's life.
    whole_kv: Option<Limit>,
    prefill_kv: Option<Limit>,
    decode_kv: Option<Limit>,
    /// Tokens of a prompt, where prompts are not split.
    prompt: Option<Limit>,
}

/// A number of tokens, and the instance that can hold no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Limit {
    tokens: u64,
    instance: InstanceId,
}

impl WorkloadLimits {
    /// The limits of `deployment`.
    ///
    /// # Panics
    /// When it has no instances.
    pub fn of(deployment: &Deployment) -> Self {
        let least = |tokens: &dyn Fn(&InstanceSpec) -> Option<u64>| {
            let limits = deployment.instances.iter().enumerate().filter_map(|(index, instance)| {
                Some(Limit { tokens: tokens(instance)?, instance: InstanceId::from(index) })
            });
            limits.min()
        };
        let kv = |role| least(&|instance| (instance.role == role).then(|| kv_tokens(instance)));
        Self {
            sequence: least(&|instance| Some(instance.model.max_position_embeddings)).expect("an instance"),
            whole_kv: kv(Role::Whole),
            prefill_kv: kv(Role::Prefill),
            decode_kv: kv(Role::Decode),
            prompt: least(&unsplit_tokens),
        }
    }

    /// Tells every call of `entry` that some instance could never finish. Faults are of `source`, and name the request
    /// by its id.
    pub fn check(&self, source: &str, entry: &Entry, faults: &mut Faults) {
        for (index, call) in entry.calls().enumerate() {
            if let Some((message, hint)) = self.excess(call) {
                let id = entry.first_id.0 + index as u64;
                faults.push(Fault::new(source, message).path(format!("request {id}")).hint(hint));
            }
        }
    }

    fn excess(&self, call: &Call) -> Option<(String, &'static str)> {
        let total = call.input_tokens.saturating_add(call.output_tokens);
        let shape = || format!("{} input and {} output tokens", call.input_tokens, call.output_tokens);
        let Limit { tokens, instance } = self.sequence;
        if total > tokens {
            let message = format!("{} exceed the {tokens} that the model of instance {instance} can hold", shape());
            return Some((message, "shorten the request, or serve a model with a longer context"));
        }
        // The last token generated is never computed.
        let computed = total.saturating_sub(1).max(call.input_tokens);
        let decode_kv = self.decode_kv.filter(|_| call.output_tokens > 1);
        for (limit, held) in [(self.whole_kv, computed), (self.prefill_kv, call.input_tokens), (decode_kv, computed)] {
            let Some(Limit { tokens, instance }) = limit.filter(|limit| held > limit.tokens) else { continue };
            let message =
                format!("{} need KV for {held} tokens, and instance {instance} has room for {tokens}", shape());
            return Some((message, "shorten the request, or give the KV cache more memory"));
        }
        let Limit { tokens, instance } = self.prompt.filter(|prompt| call.input_tokens > prompt.tokens)?;
        let message = format!(
            "{} can never start: without chunked prefill, instance {instance} computes at most {tokens} tokens in a step",
            shape(),
        );
        Some((message, "enable chunked prefill, or raise max_num_batched_tokens"))
    }
}

/// Tokens that the KV cache of an instance holds.
fn kv_tokens(instance: &InstanceSpec) -> u64 {
    u64::from(instance.kv.num_blocks) * u64::from(instance.kv.block_size)
}

/// The longest prompt that an instance can start on, where it does not split them. A sequence that has grown beyond it
/// and is preempted is split all the same.
fn unsplit_tokens(instance: &InstanceSpec) -> Option<u64> {
    let scheduler = &instance.scheduler;
    let budget = scheduler.max_num_batched_tokens;
    let threshold = scheduler.long_prefill_token_threshold;
    let is_capped = threshold > 0 && threshold <= budget;
    let computes_prompts = instance.role != Role::Decode && !instance.skips_prefill;
    (computes_prompts && !scheduler.chunked_prefill && !is_capped).then_some(budget)
}
