//! Prefix caches below the NPUs': how large they are and who shares which.
//!
//! A tier's block is 256 tokens (LMCache's default), in whole blocks of the NPU's, or one of those where it is larger;
//! it holds the KV of all ranks of an instance. By itself, each instance has a tier of the whole size of its node's
//! memory or of the CXL memory; sharing, the instances of a node have one in the CPU's, all of the cluster one in the
//! CXL memory (behaviour contract, section 5).

use diagnostics::Fault;
use documents::json::Placed;
use engine::TierSpec;
use units::GIB;

use crate::cluster::Shared;
use crate::groups::Member;
use crate::report::Report;
use crate::settings::{Flags, PrefixStorage};

/// Tokens that a tier's block should have.
const TOKENS_PER_BLOCK: u64 = 256;

/// The tiers, and which of them each member has.
#[derive(Default)]
pub(crate) struct Tiers {
    /// The tiers.
    pub(crate) specs: Vec<TierSpec>,
    /// By member, an index into them.
    pub(crate) of_member: Vec<Option<usize>>,
}

/// Makes the tiers that the flags ask for.
pub(crate) fn assign(members: &[Member<'_>], shared: &Shared, flags: &Flags, report: &mut Report) -> Tiers {
    let mut tiers = Tiers { specs: Vec::new(), of_member: vec![None; members.len()] };
    if flags.prefix_storage == PrefixStorage::None {
        if flags.prefix_sharing {
            report.note("--enable-prefix-sharing has no effect without --prefix-storage".to_owned());
        }
        return tiers;
    }
    if flags.prefix_storage == PrefixStorage::Cxl && shared.cxl_memory.is_none() {
        let fault = Fault::new("--prefix-storage", "the cluster has no CXL memory");
        report.push(fault.hint("describe it in `cxl_mem` of the cluster, or use `CPU`"));
        return tiers;
    }
    if members.iter().all(|member| !member.settings.prefix_caching) {
        report.note("--prefix-storage has no effect without prefix caching".to_owned());
    }
    // By tier, the first member that has it.
    let mut founders: Vec<&Member<'_>> = Vec::new();
    for (index, member) in members.iter().enumerate().filter(|(_, member)| member.settings.prefix_caching) {
        let is_near = |founder: &Member<'_>| {
            flags.prefix_storage == PrefixStorage::Cxl || founder.instance.node == member.instance.node
        };
        if let Some(tier) = founders.iter().position(|founder| flags.prefix_sharing && is_near(founder)) {
            check_agreement(founders[tier], member, report);
            tiers.of_member[index] = Some(tier);
            continue;
        }
        let size_gib = match &shared.cxl_memory {
            Some(cxl) if flags.prefix_storage == PrefixStorage::Cxl => &cxl.size_gib,
            _ => &shared.nodes[member.instance.node].cpu_memory.size_gib,
        };
        let Some(spec) = spec(member, size_gib, flags.prefix_sharing, report) else { continue };
        tiers.of_member[index] = Some(tiers.specs.len());
        founders.push(member);
        tiers.specs.push(spec);
    }
    tiers
}

/// A tier for `member` in a memory of `size_gib`.
fn spec(member: &Member<'_>, size_gib: &Placed<f64>, is_shared: bool, report: &mut Report) -> Option<TierSpec> {
    let block_size = member.settings.block_size;
    let tokens_per_block = (TOKENS_PER_BLOCK / block_size * block_size).max(block_size);
    let bytes_per_block = bytes_per_token(member, is_shared).saturating_mul(tokens_per_block);
    let num_blocks = (size_gib.value * GIB as f64) as u64 / bytes_per_block.max(1);
    if num_blocks == 0 {
        let block = format!("a block of {tokens_per_block} tokens takes {bytes_per_block} bytes");
        let model = &member.model.name;
        let message = format!("{} GiB are too small for a prefix cache of {model}: {block}", size_gib.value);
        report.push(size_gib.place.fault(message).hint("use a larger memory, or --prefix-storage None"));
        return None;
    }
    Some(TierSpec {
        tokens_per_block: u32::try_from(tokens_per_block).ok()?,
        npu_block_size: u32::try_from(block_size).ok()?,
        // More than can be numbered are more than any run will write.
        num_blocks: u32::try_from(num_blocks).unwrap_or(u32::MAX),
        bytes_per_block,
    })
}

/// Bytes of one token's KV on all ranks together: in a tier of its own, as many times what each rank keeps; in a shared
/// one, what does not depend on how an instance splits it.
fn bytes_per_token(member: &Member<'_>, is_shared: bool) -> u64 {
    let num_ranks = if is_shared { 1 } else { u64::from(member.degrees.num_npus()) };
    member.model.kv_bytes_per_token(member.settings.kv_element_bytes(), num_ranks) * num_ranks
}

/// Instances that share a tier find each other's KV there, so it must be alike.
fn check_agreement(first: &Member<'_>, other: &Member<'_>, report: &mut Report) {
    let mut differ = |what: &str, theirs: String, ours: String| {
        if theirs != ours {
            let message = format!("{what} {ours}, but the prefix cache is shared with instances of {what} {theirs}");
            let hint =
                "instances that share a prefix cache must agree on it; leave out --enable-prefix-sharing otherwise";
            report.push(other.instance.place.fault(message).hint(hint));
        }
    };
    differ("model", first.model.name.clone(), other.model.name.clone());
    let [theirs, ours] = [&first.settings, &other.settings];
    differ("dtype", theirs.dtype.name().to_owned(), ours.dtype.name().to_owned());
    differ("KV type", theirs.kv_dtype().name().to_owned(), ours.kv_dtype().name().to_owned());
    differ("block_size", theirs.block_size.to_string(), ours.block_size.to_string());
}
