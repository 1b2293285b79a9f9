//! Attention of a step as vLLM's kernels run it: every prompt chunk by itself, and decodes of unequal length.
//!
//! A profile knows steps with one prompt chunk and with decodes of one length. Taking the sum of all chunks for one
//! long chunk overstates their work, which grows with the square of each. And decodes that differ in length cost more
//! than their mean only where a GPU has too few of them left: FlashAttention gives each (sequence, KV head) to one
//! block of threads, and splits it over several only while there are few of them (`num_splits_heuristic`, by which
//! 0.8 × 2 × multiprocessors is enough). What is not split runs to its end at the speed of one block, however idle the
//! rest of the GPU.

use units::Duration;

use crate::{AttentionCursor, AttentionShape, OpLatency};

/// KV lengths between which marginal times are taken.
const SHORT_KV: u64 = 1024;
const LONG_KV: u64 = 2048;
/// Decodes that keep any GPU's memory busy.
const MANY_DECODES: u64 = 128;
/// A prompt chunk so small that it costs a kernel its launch and little more; with fewer tokens, profiles would blend it
/// with steps that have none.
const LEAST_CHUNK: u64 = 16;

/// Times attention of whole steps, for one model on one GPU type at one tensor-parallel degree.
#[derive(Clone, Copy, Debug, Default)]
pub struct VarlenAttention {
    uneven: Option<Uneven>,
}

/// The decodes of a step, by their KV lengths in tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decodes<'a> {
    /// How many there are.
    pub count: u64,
    /// All their lengths together.
    pub sum: u64,
    /// The longest.
    pub max: u64,
    /// The shortest.
    pub min: u64,
    /// The longest, longest first: all of them, or as many as are asked for.
    pub longest: &'a [u64],
}

/// What the decodes cost that go on when the others are through.
#[derive(Clone, Copy, Debug)]
struct Uneven {
    /// Decodes from which on none is split.
    least_decodes: u64,
    /// Nanoseconds that a token of KV takes a decode on its own.
    alone_ns: f64,
    /// Nanoseconds by which a decode's token makes a step longer where there are many.
    shared_ns: f64,
}

impl VarlenAttention {
    /// Takes marginal times from `latency`. Decodes of unequal length are left to `latency` itself where it has no
    /// measurements of them, and where the GPU's `num_sms` multiprocessors are not known; `kv_heads` are those of one
    /// rank.
    pub fn new(latency: &dyn OpLatency, num_sms: Option<u64>, kv_heads: u64) -> Self {
        let slope = |prefill_tokens: u64, num_decodes: u64| {
            let time = |kv: u64| latency.attention(&even(prefill_tokens, 0, num_decodes, kv)).ns() as f64;
            (time(LONG_KV) - time(SHORT_KV)) / (LONG_KV - SHORT_KV) as f64
        };
        let num_sms = num_sms.filter(|_| latency.measures_uneven_decodes());
        let uneven = num_sms.map(|num_sms| Uneven {
            least_decodes: (8 * 2 * num_sms).div_ceil(10 * kv_heads.max(1)),
            // Beside a prompt nothing is split.
            alone_ns: slope(LEAST_CHUNK, 1),
            shared_ns: slope(0, MANY_DECODES) / MANY_DECODES as f64,
        });
        Self { uneven: uneven.filter(|uneven| uneven.shared_ns > 0.0 && uneven.alone_ns > uneven.shared_ns) }
    }

    /// How many of the longest decodes of a step its time depends on.
    pub fn num_longest(&self) -> usize {
        self.uneven.map_or(0, |uneven| uneven.few() + 1)
    }

    /// The time of a step's attention: `chunks` of prompts, each its new tokens and those whose KV is there, and its
    /// decodes, of which the longest have to be known as far as [`num_longest`](Self::num_longest) says.
    /// `captured_decodes` is what they are padded to; it decides over splitting. `cursor` is that of `latency`.
    pub fn time(
        &self,
        latency: &dyn OpLatency,
        chunks: impl IntoIterator<Item = (u64, u64)>,
        decodes: &Decodes<'_>,
        captured_decodes: u64,
        cursor: &mut AttentionCursor,
    ) -> Duration {
        let mean = decodes.sum.checked_div(decodes.count).unwrap_or(0);
        let mut longest: Option<(Duration, (u64, u64))> = None;
        let (mut total, mut num_chunks, mut least) = (Duration::ZERO, 0, Duration::ZERO);
        for chunk in chunks {
            if num_chunks == 0 {
                least = latency.attention(&even(LEAST_CHUNK, 0, 0, 0));
            }
            let own = latency.attention(&even(chunk.0, chunk.1, 0, 0));
            total += own.max(least);
            num_chunks += 1;
            if longest.is_none_or(|longest| own >= longest.0) {
                longest = Some((own, chunk));
            }
        }
        if let Some((own, (tokens, history))) = longest {
            // They are in the same kernel, so its launch counts once.
            let more = total - own.max(least) - least * (num_chunks - 1);
            return latency.attention(&even(tokens, history, decodes.count, mean)) + more;
        }
        let (shape, more) = self.split(decodes, captured_decodes);
        latency.attention_from(&shape, cursor) + more
    }

    /// What the attention of a step without chunks is made of: a step to ask for, and the time that it takes longer. As the
    /// decodes grow all alike, so do those of the one, and the other stays.
    pub fn split(&self, decodes: &Decodes<'_>, captured_decodes: u64) -> (AttentionShape, Duration) {
        let mean = decodes.sum.checked_div(decodes.count).unwrap_or(0);
        let shape = even(0, 0, decodes.count, mean);
        match self.uneven.filter(|uneven| captured_decodes >= uneven.least_decodes) {
            Some(uneven) => (shape, uneven.tail(decodes)),
            None => {
                let (kv_decode_max, kv_decode_min) = (decodes.max, decodes.min);
                (AttentionShape { kv_decode_max, kv_decode_min, ..shape }, Duration::ZERO)
            }
        }
    }
}

impl Uneven {
    /// Decodes up to which one at a time costs more than its share.
    fn few(&self) -> usize {
        (self.alone_ns / self.shared_ns).ceil() as usize
    }

    /// By how much the longest decodes outlast a step that shares the GPU evenly to its end. `k` decodes at a time need
    /// at least the time of one, which is more than their share while there are fewer than `alone / shared`.
    fn tail(&self, decodes: &Decodes<'_>) -> Duration {
        let few = self.few().min(decodes.count as usize - 1);
        let lone = decodes.longest[..=few].windows(2).enumerate().map(|(index, pair)| {
            let share = (index + 1) as f64 * self.shared_ns;
            (pair[0] - pair[1]) as f64 * (self.alone_ns - share).max(0.0)
        });
        Duration::from_ns(lone.sum::<f64>() as u64)
    }
}

/// One prompt chunk, and decodes of one length.
fn even(prefill_tokens: u64, prefill_history: u64, num_decodes: u64, kv: u64) -> AttentionShape {
    AttentionShape {
        prefill_tokens,
        prefill_history,
        num_decodes,
        kv_decode_mean: kv,
        kv_decode_max: kv,
        kv_decode_min: kv,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Layer;

    /// A kernel launch takes 1000 ns, and a chunk the square of its tokens and its product with what is there; decodes share
    /// a memory that moves a token in 2 ns, and none alone is faster than 10 ns.
    #[derive(Debug)]
    struct Kernel {
        measures: bool,
    }

    impl OpLatency for Kernel {
        fn covers(&self, _: Layer) -> bool {
            true
        }

        fn dense(&self, _: Layer, _: u64) -> Duration {
            unreachable!("attention alone is asked for")
        }

        fn per_sequence(&self, _: Layer, _: u64) -> Duration {
            unreachable!("attention alone is asked for")
        }

        fn attention(&self, shape: &AttentionShape) -> Duration {
            let prompt = shape.prefill_tokens * (shape.prefill_tokens + shape.prefill_history);
            let per_token = if shape.num_decodes == 1 { 10 } else { 2 * shape.num_decodes };
            Duration::from_ns(1000 + prompt + per_token * shape.kv_decode_mean)
        }

        fn experts(&self, _: u64, _: u64) -> Duration {
            unreachable!("attention alone is asked for")
        }

        fn measures_uneven_decodes(&self) -> bool {
            self.measures
        }
    }

    const KERNEL: Kernel = Kernel { measures: true };

    /// The time of these chunks and decodes, which are padded to `captured`.
    fn time(varlen: &VarlenAttention, kernel: &Kernel, chunks: &[(u64, u64)], decodes: &[u64], captured: u64) -> u64 {
        let mut longest = decodes.to_vec();
        longest.sort_unstable_by(|a, b| b.cmp(a));
        let decodes = Decodes {
            count: longest.len() as u64,
            sum: longest.iter().sum(),
            max: longest.first().copied().unwrap_or(0),
            min: longest.last().copied().unwrap_or(0),
            longest: &longest[..longest.len().min(varlen.num_longest())],
        };
        varlen.time(kernel, chunks.iter().copied(), &decodes, captured, &mut AttentionCursor::default()).ns()
    }

    #[test]
    fn chunks_count_one_by_one() {
        let varlen = VarlenAttention::new(&KERNEL, Some(10), 1);
        let time =
            |chunks: &[(u64, u64)], decodes: &[u64]| time(&varlen, &KERNEL, chunks, decodes, decodes.len() as u64);
        assert_eq!(time(&[(100, 0)], &[]), 1000 + 10_000);
        // 16 × 16 is the least chunk, and goes with the launch.
        assert_eq!(time(&[(100, 0), (50, 20)], &[]), 1000 + 10_000 + 50 * 70 - 256);
        assert_eq!(time(&[(50, 20), (100, 0)], &[300, 500]), 1000 + 10_000 + 50 * 70 - 256 + 4 * 400);
        assert_eq!(time(&[(100, 0), (3, 0)], &[]), 1000 + 10_000, "no less than a launch");
    }

    #[test]
    fn decodes_that_are_not_split_run_on_alone() {
        // 0.8 × 2 × 10 multiprocessors: 16 decodes of one head are enough.
        let varlen = VarlenAttention::new(&KERNEL, Some(10), 1);
        let mut decodes = vec![100; 18];
        decodes[3] = 1000;
        decodes[7] = 600;
        let mean = decodes.iter().sum::<u64>() / 18;
        let even = 1000 + 36 * mean;
        // From 600 to 1000 one is left, where 8 ns a token are lost; from 100 to 600 two, where 6 are.
        assert_eq!(time(&varlen, &KERNEL, &[], &decodes, 18), even + 400 * 8 + 500 * 6);
        assert_eq!(time(&varlen, &KERNEL, &[], &decodes, 15), even, "split");
        let unknown = VarlenAttention::new(&KERNEL, None, 1);
        assert_eq!(time(&unknown, &KERNEL, &[], &decodes, 18), even, "a GPU that is not known");
        assert_eq!(time(&varlen, &KERNEL, &[], &[300; 18], 18), 1000 + 36 * 300, "none is longer");
    }

    #[test]
    fn what_was_not_measured_is_left_out() {
        let kernel = Kernel { measures: false };
        let varlen = VarlenAttention::new(&kernel, Some(10), 1);
        let mut decodes = vec![100; 18];
        decodes[3] = 1900;
        assert_eq!(time(&varlen, &kernel, &[], &decodes, 18), 1000 + 36 * 200);
    }
}
