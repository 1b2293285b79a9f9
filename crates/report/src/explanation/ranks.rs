//! Which NPU is which rank. Groups that are alike are told by the first of them, and long ones are cut.

use explain::{GroupKind, Npu};

use crate::table::{columns, row};

/// NPUs of a kind of group that are told one by one; the JSON has all.
const ROWS_MAX: usize = 32;

pub(super) fn text(npus: &[Npu], groups: &[GroupKind]) -> String {
    let mut rows = vec![row(["NPU", "node", "instance", "group", "dp", "pp", "tp", "ep", "experts", "blocks"])];
    let mut cut = Vec::new();
    for kind in groups {
        let Some(first) = kind.groups.first() else { continue };
        let of_group: Vec<&Npu> = npus.iter().filter(|npu| npu.group == first).collect();
        let shown = if of_group.len() > ROWS_MAX { ROWS_MAX / 2 } else { of_group.len() };
        rows.extend(of_group[..shown].iter().map(|npu| row_of(npu)));
        if shown < of_group.len() {
            rows.push(vec!["…".to_owned(); rows[0].len()]);
            rows.extend(of_group[of_group.len() - 2..].iter().map(|npu| row_of(npu)));
            cut.push(format!(
                "Of group {first}, {} of {} NPUs are left out here.",
                of_group.len() - shown - 2,
                of_group.len()
            ));
        }
        if kind.groups.count() > 1 {
            cut.push(format!("Groups {} are laid out as group {first} is.", kind.groups));
        }
    }
    let cut: String = cut.iter().map(|line| format!("{line}\n")).collect();
    columns(&rows, 1) + &cut
}

fn row_of(npu: &Npu) -> Vec<String> {
    let range = |[first, last]: [u32; 2]| if first == last { first.to_string() } else { format!("{first}–{last}") };
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let [first, last] = npu.blocks;
    vec![
        match npu.peer_of {
            Some(of) => format!("{} (peer of {of})", npu.npu),
            None => npu.npu.to_string(),
        },
        npu.node.to_string(),
        npu.instance.to_string(),
        npu.group.to_string(),
        npu.dp.to_string(),
        npu.pp.to_string(),
        npu.tp.to_string(),
        or_none(npu.ep.map(|ep| ep.to_string())),
        or_none(npu.experts.map(range)),
        if npu.peer_of.is_some() { "-".to_owned() } else { format!("{first}–{last}") },
    ]
}
