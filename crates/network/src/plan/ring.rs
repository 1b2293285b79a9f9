//! A ring phase in closed form.
//!
//! With `d` the delay of a message, `E` the endpoint delay and `P` the time of a reduction, NPU `i` sends its `j`-th
//! message at `S[i][j]` and has received its `j`-th at `R[i][j]`:
//!
//! ```text
//! S[i][1]   = start[i] + E
//! R[i][j]   = max(S[i-1][j] + d, S[i][j])
//! S[i][j+1] = R[i][j] + E (+ P where the message is reduced)
//! end[i]    = S[i][T+1]
//! ```
//!
//! Each round is the same linear map in the (max, +) algebra, `x ↦ (I ⊕ A) x + c` with `A` "the ring neighbour's plus
//! `d`", so `T` rounds are `(I ⊕ A)ᵀ = I ⊕ A ⊕ … ⊕ Aᵀ`:
//!
//! ```text
//! end[i] = E + T·E + reductions·P + max over k = 0..T of (start[i-k] + k·d)
//! ```
//!
//! As `T ≥ N-1` and later terms of the same NPU are larger, only the last `N` values of `k` count: a sliding maximum
//! around the ring, `O(N)` however many rounds there are. All starts equal, it is the familiar `E + T·(d + E) +
//! reductions·P`.

use super::phase::Phase;
use units::{Duration, Instant};

/// A ring phase, as far as time goes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingTime {
    /// `T`, at least `N - 1`.
    pub(super) rounds: u64,
    /// `d`.
    pub(super) message_delay: Duration,
    /// `E + T·E + reductions·P`.
    pub(super) own_time: Duration,
}

impl RingTime {
    /// When all start together, how long until all are through.
    pub(super) fn together(&self) -> Duration {
        self.own_time + self.message_delay * self.rounds
    }

    /// Advances the ring whose members stand at every `stride`-th place of `at`. `scratch` holds a place per member.
    pub(super) fn advance(&self, phase: &Phase, at: &mut [Instant], scratch: &mut [Instant]) {
        if phase.stride == 1 && phase.forward && (self.rounds + 1).is_multiple_of(phase.members as u64) {
            return self.advance_neighbours(&mut at[..phase.members], scratch);
        }
        let (n, d) = (phase.members, self.message_delay);
        // Members are counted in the direction of the messages from here on.
        let place = |member: usize| phase.stride * if phase.forward { member } else { n - 1 - member };

        // Member p, counted `unseen` places on for the rounds that only shift, ends at `rest` plus the maximum over
        // k = 0..n-1 of start[p-k] + k·d. Those with k ≤ p don't wrap around the ring; for the others, k = p + (n - q)
        // with q > p, and scratch[q] is the maximum of start[q'] + (n - q')·d over q' ≥ q.
        let rest = self.together() - d * (n as u64 - 1);
        let unseen = ((self.rounds + 1) % n as u64) as usize;
        let mut wrapped = Instant::ZERO;
        for q in (1..n).rev() {
            wrapped = wrapped.max(at[place(q)] + d * (n - q) as u64);
            scratch[q] = wrapped;
        }
        let mut passed_on = Instant::ZERO;
        for p in 0..n {
            let direct = passed_on.max(at[place(p)]);
            passed_on = direct + d;
            let latest = if p + 1 < n { direct.max(scratch[p + 1] + d * p as u64) } else { direct };
            scratch[p] = latest + rest;
        }
        for p in 0..n {
            at[place((p + unseen) % n)] = scratch[p];
        }
    }
    /// The usual case in fewer steps: members stand side by side, and every one hears of every other just once.
    fn advance_neighbours(&self, at: &mut [Instant], scratch: &mut [Instant]) {
        let d = self.message_delay;
        let rest = self.together() - d * (at.len() as u64 - 1);
        // As above: scratch[q] is the maximum of start[q'] + (n - q')·d over q' ≥ q.
        let (mut wrapped, mut distance) = (Instant::ZERO, Duration::ZERO);
        for (start, wrapped_from) in at.iter().zip(scratch.iter_mut()).rev() {
            distance += d;
            wrapped = wrapped.max(*start + distance);
            *wrapped_from = wrapped;
        }
        let (mut passed_on, mut distance) = (Instant::ZERO, rest);
        let last = at.len() - 1;
        for (start, &wrapped) in at[..last].iter_mut().zip(&scratch[1..]) {
            let direct = passed_on.max(*start);
            passed_on = direct + d;
            *start = (direct + rest).max(wrapped + distance);
            distance += d;
        }
        at[last] = passed_on.max(at[last]) + rest;
    }
}
