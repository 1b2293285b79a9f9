//! Attention of decodes in host memory (processing in memory).
//!
//! A sequence's heads are spread over a few of the memory's channels. Sequences are packed longest first, each onto the
//! channels with the least to do. On a channel, one takes `(slope * KV length + intercept) / split`; slope and
//! intercept are those of the memory type, measured on one model and scaled to others (behaviour contract, section 13).

use std::cmp::Reverse;

use model::Layer;
use units::Duration;

use crate::batch::Batch;
use crate::deployment::{InstanceSpec, PimSpec};

/// One sequence's share of attention on one channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PimTask {
    pub(crate) channel: u32,
    pub(crate) time: Duration,
    /// Queries, keys, values and results that cross the channel.
    pub(crate) bytes: u64,
}

/// What each channel does for the decodes of a batch, channel by channel.
pub(crate) fn tasks(spec: &InstanceSpec, pim: &PimSpec, batch: &Batch) -> Vec<PimTask> {
    let mut lengths: Vec<u64> = batch.scheduled.iter().filter_map(|scheduled| scheduled.pim_length).collect();
    lengths.sort_by_key(|&length| Reverse(length));
    let mut channels: Vec<(u64, Vec<u64>)> = vec![(0, Vec::new()); pim.num_channels as usize];
    for length in lengths {
        for _ in 0..pim.channel_split {
            let least = channels.iter_mut().min_by_key(|channel| channel.0).expect("a memory has channels");
            least.0 += length;
            least.1.push(length);
        }
    }
    let bytes = bytes(spec, pim);
    let task = |channel: usize, length: u64| {
        let ns = (pim.ns_per_token * length as f64 + pim.fixed_ns) / f64::from(pim.channel_split);
        PimTask { channel: channel as u32, time: Duration::from_ns(ns as u64), bytes }
    };
    let tasks = channels.iter().enumerate();
    tasks.flat_map(|(channel, (_, lengths))| lengths.iter().map(move |&length| task(channel, length))).collect()
}

/// One token's query, key and value in, one result out, on one channel.
fn bytes(spec: &InstanceSpec, pim: &PimSpec) -> u64 {
    let sizes = spec.model.sizes(Layer::Attention, 1, 1, u64::from(spec.tp), spec.element_bytes);
    let split = u64::from(pim.channel_split);
    sizes.input / split + sizes.output / split
}

/// A batch in two halves of about as many tokens, each request going to the lighter half, most tokens first. `None`
/// where there is nothing to split.
pub(crate) fn halves(batch: &Batch) -> Option<[Batch; 2]> {
    let mut scheduled = batch.scheduled.clone();
    scheduled.sort_by_key(|scheduled| Reverse(scheduled.tokens));
    let mut halves = [Batch::default(), Batch::default()];
    for scheduled in scheduled {
        let lighter = usize::from(halves[0].shape.tokens > halves[1].shape.tokens);
        halves[lighter].kv_send_tokens += scheduled.kv_send_tokens;
        halves[lighter].push(scheduled);
    }
    halves.iter().all(|half| !half.is_empty()).then_some(halves)
}
