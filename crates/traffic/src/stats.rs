//! What is in a workload, in numbers.
//!
//! Lengths are counted by value, so their percentiles are exact, and memory grows with how many different lengths there
//! are. Tool times go into a histogram of three digits. Arrivals are counted in bins that become wider as the workload
//! goes on. Only shared prefixes take memory that grows: a hash for each block that was ever seen.

mod binned;
mod counts;
mod json;

use diagnostics::Faults;
use engine::Call;
use hdrhistogram::Histogram;
use kvcache::{BlockHash, block_hashes};
use rustc_hash::FxHashSet;

use crate::formats::{Format, Trace};
use crate::item::Item;

pub use binned::Binned;
pub use counts::Counts;
pub use json::stats_json;

/// What is in a workload.
#[derive(Debug)]
pub struct Stats {
    /// What it is called.
    pub name: String,
    /// Its format.
    pub format: Format,
    /// Requests, every call of a session counted.
    pub num_requests: u64,
    /// Plain requests and sessions: what arrives by itself.
    pub num_arrivals: u64,
    /// When they arrive, where that is told.
    pub arrivals: Option<TimeStats>,
    /// Tokens of prompts.
    pub input_tokens: Counts,
    /// Tokens of answers.
    pub output_tokens: Counts,
    /// Sessions, where there are some.
    pub sessions: Option<SessionStats>,
    /// Shared prefixes, where token ids are listed.
    pub prefixes: Option<PrefixStats>,
    /// What is odd but no fault.
    pub notes: Vec<String>,
}

/// When requests and sessions arrive.
#[derive(Debug)]
pub struct TimeStats {
    /// Seconds from the beginning of the trace to the first arrival.
    pub first_s: f64,
    /// Seconds from the first arrival to the last.
    pub duration_s: f64,
    /// Arrivals a second from the first to the last; `None` where all are at once.
    pub per_s: Option<f64>,
    /// Coefficient of variation of the times between arrivals: 0 if they are even, 1 of a Poisson process. `None` where
    /// they are not in order, or there are fewer than three.
    pub gap_cv: Option<f64>,
    /// How many arrive when, from the first arrival on.
    pub binned: Binned,
}

/// Sessions of calls that follow one another.
#[derive(Debug)]
pub struct SessionStats {
    /// How many calls they have.
    pub calls: Counts,
    /// Times between their calls, in nanoseconds and to three digits.
    pub tool_time_ns: Histogram<u64>,
}

/// What a cache that forgets nothing would find, if requests came one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefixStats {
    /// Tokens of a block.
    pub block_size: u32,
    /// Requests that list token ids.
    pub num_requests: u64,
    /// Tokens of their prompts.
    pub lookup_tokens: u64,
    /// Those in blocks at their beginnings that an earlier request had.
    pub hit_tokens: u64,
    /// Different blocks of all of them.
    pub num_blocks: u64,
}

impl PrefixStats {
    /// The part of prompt tokens that is found, from 0 to 1.
    pub fn hit_share(&self) -> f64 {
        self.hit_tokens as f64 / self.lookup_tokens.max(1) as f64
    }
}

/// Takes a workload in, item by item.
#[derive(Debug)]
pub struct StatsBuilder {
    num_requests: u64,
    num_arrivals: u64,
    gaps: Gaps,
    input_tokens: Counts,
    output_tokens: Counts,
    sessions: Option<SessionStats>,
    prefixes: PrefixStats,
    seen: FxHashSet<BlockHash>,
}

impl StatsBuilder {
    /// Nothing yet; prefixes are to be looked for in blocks of `block_size` tokens.
    pub fn new(block_size: u32) -> Self {
        Self {
            num_requests: 0,
            num_arrivals: 0,
            gaps: Gaps::default(),
            input_tokens: Counts::default(),
            output_tokens: Counts::default(),
            sessions: None,
            prefixes: PrefixStats { block_size, num_requests: 0, lookup_tokens: 0, hit_tokens: 0, num_blocks: 0 },
            seen: FxHashSet::default(),
        }
    }

    /// Takes in the items of `trace`, at most `limit` of them.
    ///
    /// # Errors
    /// What is at fault in the trace.
    pub fn read(mut self, mut trace: Trace, limit: Option<u64>) -> Result<Stats, Faults> {
        while limit.is_none_or(|limit| self.num_arrivals < limit) {
            let Some(item) = trace.next() else { break };
            self.add(&item);
        }
        let (name, format) = (trace.name().to_owned(), trace.format());
        let notes = trace.finish()?;
        Ok(self.finish(name, format, notes))
    }

    /// Takes `item` in.
    pub fn add(&mut self, item: &Item) {
        self.num_arrivals += 1;
        if let Some(ns) = item.arrival_ns {
            self.gaps.add(ns);
        }
        for call in &item.calls {
            self.num_requests += 1;
            self.input_tokens.add(call.input_tokens);
            self.output_tokens.add(call.output_tokens);
            if !call.input_ids.is_empty() {
                self.look_up(call);
            }
        }
        if item.session_id.is_some() {
            let sessions = self.sessions.get_or_insert_with(|| SessionStats {
                calls: Counts::default(),
                tool_time_ns: Histogram::new_with_bounds(1, 1 << 62, 3).expect("bounds and digits are sound"),
            });
            sessions.calls.add(item.calls.len() as u64);
            let (_, before_others) = item.calls.split_last().expect("an item has a call");
            for call in before_others {
                sessions.tool_time_ns.saturating_record(call.tool_time.ns());
            }
        }
    }

    /// Counts what of a prompt was there before, and keeps what is there after it.
    fn look_up(&mut self, call: &Call) {
        let prefixes = &mut self.prefixes;
        let block_size = prefixes.block_size as usize;
        let hashes = block_hashes(&call.input_ids, &call.output_ids, prefixes.block_size);
        // At least one token of the prompt is computed; the last token of the answer never is.
        let findable = (call.input_ids.len() - 1) / block_size;
        let computed = (call.input_ids.len() + call.output_ids.len().saturating_sub(1)) / block_size;
        let hits = hashes.iter().take(findable).take_while(|hash| self.seen.contains(hash)).count();
        prefixes.num_requests += 1;
        prefixes.lookup_tokens += call.input_ids.len() as u64;
        prefixes.hit_tokens += (hits * block_size) as u64;
        self.seen.extend(&hashes[hits..computed.min(hashes.len()).max(hits)]);
    }

    /// What it all comes to.
    pub fn finish(self, name: String, format: Format, notes: Vec<String>) -> Stats {
        let prefixes = PrefixStats { num_blocks: self.seen.len() as u64, ..self.prefixes };
        Stats {
            name,
            format,
            num_requests: self.num_requests,
            num_arrivals: self.num_arrivals,
            arrivals: self.gaps.finish(format.begins_at_zero()),
            input_tokens: self.input_tokens,
            output_tokens: self.output_tokens,
            sessions: self.sessions,
            prefixes: (prefixes.num_requests > 0).then_some(prefixes),
            notes,
        }
    }
}

/// Arrivals one after the other, and the times between them (Welford's mean and variance).
#[derive(Debug, Default)]
struct Gaps {
    num: u64,
    first_ns: u64,
    last_ns: u64,
    is_disordered: bool,
    mean_ns: f64,
    squares: f64,
    binned: Binned,
}

impl Gaps {
    fn add(&mut self, ns: u64) {
        if self.num == 0 {
            (self.first_ns, self.last_ns) = (ns, ns);
        } else {
            self.is_disordered |= ns < self.last_ns;
            let gap = ns.saturating_sub(self.last_ns) as f64;
            let difference = gap - self.mean_ns;
            self.mean_ns += difference / self.num as f64;
            self.squares += difference * (gap - self.mean_ns);
        }
        self.num += 1;
        self.last_ns = self.last_ns.max(ns);
        self.binned.add(ns.saturating_sub(self.first_ns));
    }

    fn finish(self, begins_at_zero: bool) -> Option<TimeStats> {
        if self.num == 0 {
            return None;
        }
        let duration_s = (self.last_ns - self.first_ns) as f64 / 1e9;
        let num_gaps = (self.num - 1) as f64;
        let deviation = (self.squares / num_gaps).sqrt();
        let has_cv = self.num > 2 && !self.is_disordered && self.mean_ns > 0.0;
        Some(TimeStats {
            first_s: if begins_at_zero { self.first_ns as f64 / 1e9 } else { 0.0 },
            duration_s,
            per_s: (duration_s > 0.0).then(|| num_gaps / duration_s),
            gap_cv: has_cv.then(|| deviation / self.mean_ns),
            binned: self.binned,
        })
    }
}

#[cfg(test)]
mod tests;
