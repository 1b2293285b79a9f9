//! Who waited for whom in the waves of a group.
//!
//! Members wait twice. Before a wave, those whose batches are ready wait for the last one. In it they wait in
//! collectives for whoever computes longest: what a member waits is what the slowest computes longer than it. That is so
//! where all members meet in every block with the same work in each; where slowness moves from rank to rank within a
//! step, they wait longer.

use engine::{StepDetails, StepParts, Wave};
use units::{Duration, Instant};

/// Groups of more members are not told pair by pair.
const PAIRS_MEMBERS_MAX: usize = 64;

/// The waves of one group.
#[derive(Clone, Debug, Default)]
pub struct GroupWaves {
    /// Waves.
    pub waves: u64,
    /// By member.
    pub members: Vec<WaveMember>,
    /// `pairs[i * members + j]`: how long member `i` waited for member `j`, before waves and in them. Empty in groups of one
    /// and of more than 64.
    pub pairs: Vec<Duration>,
    /// The one in which members waited longest, all together.
    pub worst: Option<WorstWave>,
    /// Tokens that reached the expert-parallel rank that most reached, and those of all ranks, added up over waves.
    pub expert_tokens_max: u64,
    /// See [`expert_tokens_max`](Self::expert_tokens_max).
    pub expert_tokens: u64,
    /// Expert-parallel ranks.
    pub expert_ranks: usize,
}

/// One member's part in all of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WaveMember {
    /// Waves in which it only kept pace.
    pub dummies: u64,
    /// Tokens of its batches; 1 for a dummy.
    pub tokens: u64,
    /// Tokens that these were padded to.
    pub padded_tokens: u64,
    /// How long it waited for others before waves.
    pub waited_before: Duration,
    /// How long it waited in them for the slowest.
    pub waited_inside: Duration,
    /// How long others waited for it.
    pub waited_for: Duration,
    /// Waves in which it was the slowest.
    pub slowest: u64,
}

/// One wave, member by member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorstWave {
    /// When it started.
    pub start: Instant,
    /// By member: tokens, when its batch was ready, what its step consists of.
    pub members: Vec<(u64, Instant, StepParts)>,
    /// How long all members waited together.
    pub waited: Duration,
}

impl GroupWaves {
    pub(super) fn new(num_members: usize) -> Self {
        let has_pairs = (2..=PAIRS_MEMBERS_MAX).contains(&num_members);
        Self {
            members: vec![WaveMember::default(); num_members],
            pairs: vec![Duration::ZERO; if has_pairs { num_members * num_members } else { 0 }],
            ..Self::default()
        }
    }

    pub(super) fn count(&mut self, wave: &Wave<'_>, details: &[StepDetails<'_>]) {
        self.waves += 1;
        self.count_experts(details);
        for (member, step) in self.members.iter_mut().zip(wave.members) {
            member.dummies += u64::from(step.is_dummy());
            member.tokens += step.tokens;
            member.padded_tokens += wave.padded_tokens.max(step.tokens);
        }
        if details.len() < 2 {
            return;
        }
        // The first of those that are alike.
        let last = first_max(details.iter().map(|member| member.ready.ns()));
        let slowest = first_max(details.iter().map(|member| member.parts.computing().ns()));
        let longest = details[slowest].parts.computing();
        let mut waited = Duration::ZERO;
        self.members[slowest].slowest += 1;
        for (index, member) in details.iter().enumerate() {
            let before = if index == last { Duration::ZERO } else { wave.start - member.ready };
            let inside = Duration::from_ns(longest.ns() - member.parts.computing().ns());
            self.members[index].waited_before += before;
            self.members[index].waited_inside += inside;
            self.wait(index, last, before);
            self.wait(index, slowest, inside);
            waited += before + inside;
        }
        if self.worst.as_ref().is_none_or(|worst| waited > worst.waited) {
            let members = wave.members.iter().zip(details);
            let members = members.map(|(step, details)| (step.tokens, details.ready, details.parts)).collect();
            self.worst = Some(WorstWave { start: wave.start, members, waited });
        }
    }

    fn wait(&mut self, who: usize, for_whom: usize, time: Duration) {
        self.members[for_whom].waited_for += time;
        if let Some(pair) = self.pairs.get_mut(who * self.members.len() + for_whom) {
            *pair += time;
        }
    }

    fn count_experts(&mut self, details: &[StepDetails<'_>]) {
        let ranks = || details.iter().flat_map(|member| member.expert_tokens);
        self.expert_tokens_max += ranks().max().unwrap_or(&0);
        self.expert_tokens += ranks().sum::<u64>();
        self.expert_ranks = ranks().count();
    }
}

fn first_max(values: impl Iterator<Item = u64>) -> usize {
    let indexed = values.enumerate();
    indexed.fold((0, 0), |most, (index, value)| if value > most.1 { (index, value) } else { most }).0
}
