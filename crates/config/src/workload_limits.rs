//! Which requests a deployment can serve.
//!
//! A request may be routed to any instance, and a waiting request that can never start would wait for ever, with all
//! behind it. So each must fit every instance: its sequence in the model and in an empty KV cache, and, where prompts
//! are not split, its prompt in one step; `long_prefill_token_threshold` caps what is asked of a step and so lifts the
//! last limit.

use diagnostics::{Fault, Faults};
use engine::{Call, Deployment, Entry, InstanceSpec};
use units::InstanceId;

/// The longest requests that fit every instance of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkloadLimits {
    /// Prompt and output together.
    sequence: Limit,
    /// Tokens whose KV is held: all but the last one generated.
    kv: Limit,
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
        let least = |tokens: fn(&InstanceSpec) -> Option<u64>| {
            let limits = deployment.instances.iter().enumerate().filter_map(|(index, instance)| {
                Some(Limit { tokens: tokens(instance)?, instance: InstanceId::from(index) })
            });
            limits.min()
        };
        Self {
            sequence: least(|instance| Some(instance.model.max_position_embeddings)).expect("an instance"),
            kv: least(|instance| Some(u64::from(instance.kv.num_blocks) * u64::from(instance.kv.block_size)))
                .expect("an instance"),
            prompt: least(unsplit_tokens),
        }
    }

    /// Tells every call of `entry` that some instance could never finish. Faults are of `source`, and name the request
    /// by its id.
    pub fn check(&self, source: &str, entry: &Entry, faults: &mut Faults) {
        for (index, call) in entry.calls.iter().enumerate() {
            if let Some((message, hint)) = self.excess(call) {
                let id = entry.first_id.0 + index as u64;
                faults.push(Fault::new(source, message).path(format!("request {id}")).hint(hint));
            }
        }
    }

    fn excess(&self, call: &Call) -> Option<(String, &'static str)> {
        let total = call.input_tokens.saturating_add(call.output_tokens);
        // The last token generated is never computed.
        let computed = total.saturating_sub(1).max(call.input_tokens);
        let shape = format!("{} input and {} output tokens", call.input_tokens, call.output_tokens);
        let Limit { tokens, instance } = self.sequence;
        if total > tokens {
            let message = format!("{shape} exceed the {tokens} that the model of instance {instance} can hold");
            return Some((message, "shorten the request, or serve a model with a longer context"));
        }
        let Limit { tokens, instance } = self.kv;
        if computed > tokens {
            let message =
                format!("{shape} need KV for {computed} tokens, and instance {instance} has room for {tokens}");
            return Some((message, "shorten the request, or give the KV cache more memory"));
        }
        let Limit { tokens, instance } = self.prompt.filter(|prompt| call.input_tokens > prompt.tokens)?;
        let message = format!(
            "{shape} can never start: without chunked prefill, instance {instance} computes at most {tokens} tokens in a step"
        );
        Some((message, "enable chunked prefill, or raise max_num_batched_tokens"))
    }
}

/// The longest prompt that an instance can start on, where it does not split them.
fn unsplit_tokens(instance: &InstanceSpec) -> Option<u64> {
    let scheduler = &instance.scheduler;
    let budget = scheduler.max_num_batched_tokens;
    let threshold = scheduler.long_prefill_token_threshold;
    let is_capped = threshold > 0 && threshold <= budget;
    (!scheduler.chunked_prefill && !is_capped).then_some(budget)
}
