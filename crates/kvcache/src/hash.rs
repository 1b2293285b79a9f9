//! Chained block hashes.
//!
//! `hash(block i) = H(hash(block i − 1), tokens of block i)`, so equal hashes mean equal prefixes and one look-up
//! answers for everything before it too (vLLM's `hash_block_tokens`). H is fixed and unseeded: a run gives the same
//! hashes on any machine. Two tokens at a time are absorbed by a folded multiply, that is the exclusive or of both
//! halves of a 128-bit product, as wyhash does it; the finalizer of SplitMix64 closes a block.
//!
//! At 64 bits, 10 million distinct blocks collide with a probability of about 3 in a million. A collision would make one
//! request hit another's block, which moves one latency a little; it can't break the pool.

use std::num::NonZeroU64;

/// Identifies a full block by its tokens and all tokens before it. Never zero, so an `Option` of it costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockHash(NonZeroU64);

/// The first digits of pi's fraction: nothing-up-my-sleeve constants with well-mixed bits.
const CHAIN_START: u64 = 0x243f_6a88_85a3_08d3;
const ABSORB_FACTOR: u64 = 0x1319_8a2e_0370_7345;

/// The hashes of all full blocks of `block_size` tokens over `input` followed by `output`, in order.
///
/// Empty when `input` is: a request without token ids takes no part in prefix caching. The output is included because
/// its blocks are indexed too, once they are computed; when that is the case is for the caller to know.
///
/// # Panics
/// When `block_size` is 0.
pub fn block_hashes(input: &[u32], output: &[u32], block_size: u32) -> Vec<BlockHash> {
    assert!(block_size > 0, "a block holds at least one token");
    if input.is_empty() {
        return Vec::new();
    }
    let block_size = block_size as usize;
    let mut hashes = Vec::with_capacity((input.len() + output.len()) / block_size);
    let mut chain = CHAIN_START;
    let mut push = |tokens: &[u32]| {
        let hash = hash_block(chain, tokens);
        chain = hash.0.get();
        hashes.push(hash);
    };

    let whole_input = input.chunks_exact(block_size);
    let rest = whole_input.remainder();
    whole_input.for_each(&mut push);
    // The block that begins in the input takes what it lacks from the output.
    let lacking = if rest.is_empty() { 0 } else { block_size - rest.len() };
    let Some((head, tail)) = output.split_at_checked(lacking) else {
        return hashes;
    };
    if lacking > 0 {
        push(&[rest, head].concat());
    }
    tail.chunks_exact(block_size).for_each(&mut push);
    hashes
}

/// The hash of the block with these tokens after the prefix that hashes to `parent`.
fn hash_block(parent: u64, tokens: &[u32]) -> BlockHash {
    let (pairs, odd) = tokens.as_chunks::<2>();
    let mut state = parent;
    for &[first, second] in pairs {
        state = folded_multiply(state ^ (u64::from(first) | u64::from(second) << 32));
    }
    if let &[last] = odd {
        state = folded_multiply(state ^ u64::from(last));
    }
    BlockHash(NonZeroU64::new(finalize(state)).unwrap_or(NonZeroU64::MIN))
}

fn folded_multiply(state: u64) -> u64 {
    let product = u128::from(state) * u128::from(ABSORB_FACTOR);
    product as u64 ^ (product >> 64) as u64
}

/// SplitMix64's output function: every input bit moves every output bit with a probability of about one half.
fn finalize(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn only_full_blocks_of_a_request_with_token_ids_have_a_hash() {
        let check = |input: u32, output: u32, block_size: u32, expected: usize| {
            let input: Vec<u32> = (0..input).collect();
            let output: Vec<u32> = (0..output).collect();
            let hashes = block_hashes(&input, &output, block_size);
            assert_eq!(hashes.len(), expected, "{input:?} then {output:?} in blocks of {block_size}");
        };
        check(0, 0, 16, 0);
        check(0, 64, 16, 0);
        check(1, 0, 1, 1);
        check(15, 0, 16, 0);
        check(15, 1, 16, 1);
        check(16, 0, 16, 1);
        check(16, 15, 16, 1);
        check(16, 16, 16, 2);
        check(17, 14, 16, 1);
        check(17, 15, 16, 2);
        check(3, 100, 16, 6);
        check(7, 8, 5, 3);
    }

    #[test]
    fn where_the_input_ends_makes_no_difference() {
        let tokens: Vec<u32> = (0..53).map(|token| token * 7919).collect();
        for block_size in [1, 3, 8, 16] {
            let whole = block_hashes(&tokens, &[], block_size);
            for split in 1..tokens.len() {
                let (input, output) = tokens.split_at(split);
                assert_eq!(block_hashes(input, output, block_size), whole, "split at {split}, blocks of {block_size}");
            }
        }
    }

    #[test]
    fn a_token_decides_its_own_block_and_all_later_ones() {
        let tokens: Vec<u32> = (0..40).collect();
        for block_size in [1u32, 5, 8] {
            let original = block_hashes(&tokens, &[], block_size);
            for changed in 0..tokens.len() {
                let mut others = tokens.clone();
                others[changed] = 1000;
                for (block, (a, b)) in original.iter().zip(block_hashes(&others, &[], block_size)).enumerate() {
                    assert_eq!(*a == b, block < changed / block_size as usize, "block {block}, token {changed}");
                }
            }
        }
    }

    #[test]
    fn every_token_bit_flips_about_half_of_the_hash() {
        let tokens = [11u32, 220, 3, 99_000, 5, 60_000, 7];
        let original = block_hashes(&tokens, &[], 7)[0];
        for bit in 0..tokens.len() * 32 {
            let mut others = tokens;
            others[bit / 32] ^= 1 << (bit % 32);
            let flipped = (original.0.get() ^ block_hashes(&others, &[], 7)[0].0.get()).count_ones();
            assert!((12..=52).contains(&flipped), "bit {bit} flips {flipped} of 64");
        }
    }

    #[test]
    fn similar_blocks_do_not_collide() {
        let hashes: HashSet<BlockHash> =
            (0..1u32 << 18).map(|n| block_hashes(&[n & 0x1ff, n >> 9, 0, 0], &[], 4)[0]).collect();
        assert_eq!(hashes.len(), 1 << 18);
    }

    #[test]
    fn hashes_are_the_same_on_every_machine() {
        let tokens: Vec<u32> = (0..4).collect();
        let hashes: Vec<u64> = block_hashes(&tokens, &[], 2).iter().map(|hash| hash.0.get()).collect();
        assert_eq!(hashes, [5_054_306_322_652_746_242, 14_536_802_718_127_779_360]);
    }
}
