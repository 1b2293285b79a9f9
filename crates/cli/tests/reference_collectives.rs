//! Recorded collectives of ASTRA-Sim through `servingsim collective`, to the nanosecond; what it can't do is refused.

#[expect(dead_code, reason = "it needs no files")]
mod support;

use std::collections::BTreeMap;
use std::fs;

use support::Folder;

/// The flags that describe all rows of one run of the command, and the sizes to put into it with what they should give.
type Runs = BTreeMap<Vec<String>, Vec<(String, String)>>;

/// The rows of a table by column. None of these tables has quoted fields.
fn rows(text: &str) -> impl Iterator<Item = BTreeMap<&str, &str>> {
    let mut lines = text.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    lines.map(move |fields| header.iter().copied().zip(fields).collect())
}

fn flags(row: &BTreeMap<&str, &str>) -> Vec<String> {
    let kind = match row["kind"] {
        "AR" => "all_reduce",
        "AG" => "all_gather",
        "RS" => "reduce_scatter",
        _ => "all_to_all",
    };
    let by_dim = |column: &str| row[column].replace('x', ",");
    let npus = row.get("npus").map_or_else(|| by_dim("dims"), |npus| (*npus).to_owned());
    let mut flags = [
        ("--kind", kind.to_owned()),
        ("--algorithm", by_dim("impl")),
        ("--topology", row["topology"].split('x').collect::<Vec<_>>().join(",")),
        ("--npus", npus),
        ("--bandwidth", by_dim("bw")),
        ("--latency", by_dim("latency")),
        ("--local-mem-bw", row["local_mem_bw"].to_owned()),
        ("--network-model", row.get("backend").unwrap_or(&"unaware").to_string()),
    ]
    .map(|(flag, value)| [flag.to_owned(), value])
    .concat();
    if let Some(mask) = row.get("involved").filter(|mask| **mask != "none") {
        let each: Vec<_> = mask.chars().map(String::from).collect();
        flags.extend(["--involved".to_owned(), each.join(",")]);
    }
    flags
}

/// Compares the rows of `file`; returns how many were equal, and how many were refused that ASTRA-Sim can't do.
fn compare(file: &str) -> (usize, usize) {
    let Some(dir) = testkit::reference_dir() else { return (0, 0) };
    let text = fs::read_to_string(dir.join("astra").join(file)).expect("a readable table");
    let (mut runs, mut impossible) = (Runs::new(), Vec::new());
    for row in rows(&text) {
        match row["status"] {
            "ok" => runs.entry(flags(&row)).or_default().push((row["size"].to_owned(), row["finish"].to_owned())),
            _ => impossible.push((flags(&row), row["size"].to_owned())),
        }
    }
    let folder = Folder::new();
    let run = |flags: &[String], sizes: &str| {
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        folder.run(&[&["collective", "--per-npu", "--bytes", sizes], &flags[..]].concat())
    };
    let mut equal = 0;
    for (flags, sizes) in &runs {
        let list: Vec<&str> = sizes.iter().map(|(size, _)| size.as_str()).collect();
        let said = run(flags, &list.join(","));
        assert_eq!(said.code, Some(0), "{flags:?} {list:?}: {said}");
        assert_eq!(said.stdout.lines().count(), sizes.len(), "{flags:?}: {said}");
        for (line, (size, expected)) in said.stdout.lines().zip(sizes) {
            let times = if sizes.len() == 1 { line } else { line.split_once(' ').expect("a size").1 };
            let is_equal = match expected.contains(' ') {
                true => times == expected,
                false => times.split(' ').all(|time| time == expected),
            };
            assert!(is_equal, "{flags:?} of {size} bytes: {times}, and ASTRA-Sim says {expected}");
            equal += 1;
        }
    }
    for (flags, size) in &impossible {
        let said = run(flags, size);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{flags:?} of {size} bytes: {said}");
        assert!(said.stderr.starts_with("error: "), "{said}");
    }
    println!("{file}: {equal} rows equal to the nanosecond; {} that ASTRA-Sim can't do refused", impossible.len());
    (equal, impossible.len())
}

#[test]
fn collectives_in_one_dimension() {
    let (equal, refused) = compare("collectives.csv");
    assert!(testkit::reference_dir().is_none() || equal >= 4665 && refused >= 1095, "{equal} equal, {refused} refused");
}

#[test]
fn collectives_in_several_dimensions() {
    let (equal, refused) = compare("multidim.csv");
    assert!(testkit::reference_dir().is_none() || equal >= 1212 && refused >= 59, "{equal} equal, {refused} refused");
}
