//! How often tokens reach a rank, when only the share of each expert is known.
//!
//! A token takes `k` distinct experts, and expert `e` is among them with probability `p_e`, so the shares sum to `k`.
//! They don't say which experts go together; of all the ways that fit them this takes the one that assumes least, the
//! one of maximum entropy. There a set of `k` experts is chosen with a probability proportional to the product of its
//! experts' weights `w_e`. Let `S_j(w)` be the sum of such products over all sets of `j`, that is the coefficient of `x^j`
//! in `Π (1 + w_e·x)`. Then
//!
//! ```text
//! p_e / (1 − p_e) = w_e · S_{k−1}(w without e) / S_k(w without e)
//! P(rank is hit)  = 1 − S_k(w without the rank's experts) / S_k(w)
//! ```
//!
//! (Chen, Dempster and Liu, "Weighted finite population sampling to maximize entropy", Biometrika 81, 1994.) The weights
//! are fitted by iterating the first line: each weight goes half of the way, as a ratio, to where its own share would be
//! met. All the way can oscillate; so it takes about 20 rounds, however steep the shares.
//!
//! Independent choices, `1 − Π (1 − p_e)`, would be simpler and too low: tokens with no expert at all count in it, so
//! with 2 of 8 experts even the only rank there is would miss every tenth token.

use crate::Placement;

/// Shares nearer to 1 than this are taken as 1. Their weights would be beyond all bounds.
const CERTAIN: f64 = 1e-6;

/// The iteration ends when no share is off by more: a token in ten million.
const TOLERANCE: f64 = 1e-7;

/// It also ends after so many rounds, which only shares reach that no choices can have: rounded ones near to 1.
const ROUNDS_MAX: u32 = 100;

/// Draws of `k` distinct experts, fitted to the share of each.
#[derive(Clone, Debug)]
pub(crate) struct DistinctChoices {
    /// Per expert; infinite for those that every token takes.
    weights: Vec<f64>,
    /// Experts that a token takes besides the certain ones.
    num_open: usize,
}

/// The lowest coefficients of a polynomial, constant first.
type Polynomial = Vec<f64>;

impl DistinctChoices {
    /// The draws of `experts_per_token` experts in which each has its share of `shares`. They are from 0 to 1; a sum
    /// that isn't quite `experts_per_token` is scaled to it.
    pub(crate) fn fit(shares: &[f64], experts_per_token: u32) -> Self {
        let is_open = |&share: &f64| share <= 1.0 - CERTAIN;
        let num_certain = shares.iter().filter(|share| !is_open(share)).count();
        let num_open = (experts_per_token as usize).saturating_sub(num_certain);
        let open: Vec<f64> = shares.iter().copied().filter(is_open).collect();
        if open.iter().filter(|&&share| share > 0.0).count() <= num_open {
            // Every expert that is taken at all is taken always.
            let weight = |&share: &f64| if share > 0.0 { f64::INFINITY } else { 0.0 };
            return Self { weights: shares.iter().map(weight).collect(), num_open: 0 };
        }
        let mut fitted = fit_open(&open, num_open).into_iter();
        let weight = |share| if is_open(share) { fitted.next().unwrap_or(0.0) } else { f64::INFINITY };
        Self { weights: shares.iter().map(weight).collect(), num_open }
    }

    /// Per rank, the probability that at least one of a token's experts is on it.
    pub(crate) fn hit_probabilities(&self, placement: &Placement) -> Vec<f64> {
        let num_ranks = placement.num_ranks() as usize;
        let mut certain = vec![false; num_ranks];
        let mut ranks: Vec<Polynomial> = vec![vec![1.0]; num_ranks];
        for (expert, &weight) in (0..).zip(&self.weights) {
            let rank = placement.rank_of(expert) as usize;
            if weight.is_infinite() {
                certain[rank] = true;
            } else {
                ranks[rank] = product(&ranks[rank], &[1.0, weight], self.num_open);
            }
        }
        let all = ranks.iter().fold(vec![1.0], |all, rank| product(&all, rank, self.num_open));
        let all = coefficient(&all, self.num_open);
        let others = without_each(&ranks, self.num_open);
        let hit = |(certain, [_, misses]): (bool, [f64; 2])| if certain { 1.0 } else { (1.0 - misses / all).max(0.0) };
        certain.into_iter().zip(others).map(hit).collect()
    }
}

/// The weights with which `num_open` distinct choices give each expert its share, all of them below 1. More of them than
/// `num_open` are above 0.
fn fit_open(shares: &[f64], num_open: usize) -> Vec<f64> {
    if num_open == 0 {
        return vec![0.0; shares.len()];
    }
    let scale = num_open as f64 / shares.iter().sum::<f64>();
    let targets: Vec<f64> = shares.iter().map(|share| (share * scale).min(1.0 - CERTAIN)).collect();
    // Without the condition that the choices are `num_open` in number, the odds would be the weights.
    let mut weights: Vec<f64> = targets.iter().map(|target| target / (1.0 - target)).collect();
    for _ in 0..ROUNDS_MAX {
        // Only ratios matter; kept of order 1 their products stay in range.
        let unit = num_open as f64 / weights.iter().sum::<f64>();
        weights.iter_mut().for_each(|weight| *weight *= unit);
        let experts: Vec<Polynomial> = weights.iter().map(|&weight| vec![1.0, weight]).collect();
        let others = without_each(&experts, num_open);
        let mut worst = 0.0f64;
        for ((weight, target), [fewer, full]) in weights.iter_mut().zip(&targets).zip(others) {
            let share = *weight * fewer / (*weight * fewer + full);
            worst = worst.max((share - target).abs());
            *weight = (*weight * target / (1.0 - target) * full / fewer).sqrt();
        }
        if worst <= TOLERANCE {
            break;
        }
    }
    weights
}

/// For each factor in turn, the coefficients of `x^(degree − 1)` and `x^degree` in the product of all others.
///
/// Every sum is of positive terms. Dividing a factor out again would be less work, and lose all digits to cancellation.
fn without_each(factors: &[Polynomial], degree: usize) -> Vec<[f64; 2]> {
    // Products of the last factors: of none, of one, of two, ...
    let mut after: Vec<Polynomial> = Vec::with_capacity(factors.len());
    after.push(vec![1.0]);
    for factor in factors.iter().skip(1).rev() {
        after.push(product(&after[after.len() - 1], factor, degree));
    }
    let mut before: Polynomial = vec![1.0];
    let mut others = Vec::with_capacity(factors.len());
    for (factor, after) in factors.iter().zip(after.iter().rev()) {
        let at = |power: usize| -> f64 {
            let terms = before.iter().take(power + 1).enumerate();
            terms.map(|(low, term)| term * coefficient(after, power - low)).sum()
        };
        others.push([degree.checked_sub(1).map_or(0.0, at), at(degree)]);
        before = product(&before, factor, degree);
    }
    others
}

fn coefficient(polynomial: &[f64], power: usize) -> f64 {
    polynomial.get(power).copied().unwrap_or(0.0)
}

/// The product of two polynomials up to `x^degree`.
fn product(a: &[f64], b: &[f64], degree: usize) -> Polynomial {
    let mut product = vec![0.0; (a.len() + b.len() - 1).min(degree + 1)];
    for (i, x) in a.iter().enumerate() {
        for (sum, y) in product.iter_mut().skip(i).zip(b) {
            *sum += x * y;
        }
    }
    product
}

#[cfg(test)]
mod tests;
