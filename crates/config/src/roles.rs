//! Prefill and decode on different instances: who hands requests to whom, and whether they can.
//!
//! A request that a prefill instance has computed the prompt of goes to any decode instance, with its KV. So each
//! decode instance must be able to use the KV of each prefill instance as it is (behaviour contract, section 12).

use engine::Role;

use crate::groups::Member;
use crate::report::Report;

/// Tells the instances whose roles don't fit each other.
pub(crate) fn check(members: &[Member<'_>], report: &mut Report) {
    let with_role = |role| members.iter().filter(move |member| member.instance.role() == role);
    let (first_prefill, first_decode) = (with_role(Role::Prefill).next(), with_role(Role::Decode).next());
    let lonely = match (first_prefill, first_decode) {
        (Some(prefill), None) => Some((prefill, "no decode instance takes over what it has computed", "decode")),
        (None, Some(decode)) => Some((decode, "no prefill instance hands requests over to it", "prefill")),
        _ => None,
    };
    if let Some((member, message, other)) = lonely
        && let Some(role) = &member.instance.pd_type
    {
        let hint = format!("add an instance with \"pd_type\": \"{other}\", or write null");
        report.push(role.place.fault(message).hint(hint));
    }
    for member in members {
        if let (Some(role), Some(_)) = (&member.instance.pd_type, &member.instance.dp_group) {
            let message =
                "prefill and decode can't be split inside a dp_group: its members run the same steps together";
            report.push(role.place.fault(message).hint("remove `dp_group`, or write null"));
        }
    }
    for decode in with_role(Role::Decode) {
        with_role(Role::Prefill).for_each(|prefill| check_pair(prefill, decode, report));
    }
}

/// Tells what keeps `decode` from using the KV of `prefill`.
fn check_pair(prefill: &Member<'_>, decode: &Member<'_>, report: &mut Report) {
    let instance = decode.instance;
    if prefill.model.name != decode.model.name {
        let place = &instance.model_name.place;
        let message = format!("takes over requests to {}, but serves {}", prefill.model.name, decode.model.name);
        report.push(place.fault(message).hint("prefill and decode instances of a cluster must serve one model"));
        return;
    }
    let [theirs, ours] = [prefill, decode].map(|member| member.settings.kv_dtype().name());
    if theirs != ours {
        let message = format!("keeps KV in {ours}, but takes over KV in {theirs}");
        let hint = "give both the same `dtype` and `kv_cache_dtype`";
        report.push(instance.place.fault(message).hint(hint));
    }
    // What KV is found again by comes with the request, by blocks of the instance that it comes from.
    let [theirs, ours] = [prefill, decode].map(|member| &member.settings);
    if theirs.prefix_caching && ours.prefix_caching && theirs.block_size != ours.block_size {
        let message = format!(
            "has blocks of {} tokens, but takes over prefixes in blocks of {}",
            ours.block_size, theirs.block_size
        );
        let hint = "give both the same `block_size`, or one of them \"enable_prefix_caching\": false";
        report.push(instance.place.fault(message).hint(hint));
    }
}
