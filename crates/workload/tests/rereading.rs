//! Workloads that don't stay in memory: read again, they are what they were, or a fault.

use std::fs;
use std::path::Path;

use diagnostics::Faults;
use engine::Entry;
use proptest::prelude::*;
use tempfile::NamedTempFile;
use workload::{ReadOptions, Workload, read_file, read_str};

const KEPT: ReadOptions = ReadOptions { limit: None, token_ids: true, kept_bytes_max: usize::MAX };
const READ_AGAIN: ReadOptions = ReadOptions { kept_bytes_max: 0, ..KEPT };

fn file(text: &str) -> NamedTempFile {
    let file = NamedTempFile::new().expect("a temporary file");
    fs::write(file.path(), text).expect("the temporary file");
    file
}

fn read(path: &Path, options: &ReadOptions) -> Result<Workload, Faults> {
    read_file(path, options, &mut |_| ())
}

fn read_well(path: &Path, options: &ReadOptions) -> Workload {
    read(path, options).unwrap_or_else(|faults| panic!("{faults}"))
}

fn line(arrival_ns: u64) -> String {
    format!("{{\"input_toks\": 3, \"output_toks\": 2, \"arrival_time_ns\": {arrival_ns}}}\n")
}

/// Lines that take several blocks.
fn long_text() -> String {
    (0..10_000).map(|n| line(n * 1_000)).collect()
}

/// A line, and when what it says arrives.
fn lines() -> impl Strategy<Value = (String, u64)> {
    let ids = prop::collection::vec(any::<u32>(), 0..30);
    let entry = (0..1_000_u64, 1..100_u64, 1..100_u64, ids, any::<bool>(), 1..4_usize);
    let text = |(arrival_ns, input, output, ids, is_session, num_calls): (u64, u64, u64, Vec<u32>, bool, usize)| {
        let call = format!(r#""input_toks": {input}, "output_toks": {output}, "input_tok_ids": {ids:?}"#);
        let text = match (is_session, ids.len() % 2) {
            (true, _) => {
                let calls = vec![format!("{{{call}}}"); num_calls - 1].join(", ");
                format!(r#"{{"arrival_time_ns": {arrival_ns}, "sub_requests": [{calls}]}}"#)
            }
            (false, 0) => format!(r#"{{"arrival_time_ns": {arrival_ns}, {call}}}"#),
            (false, _) => line(arrival_ns).trim_end().to_owned(),
        };
        (text, arrival_ns)
    };
    entry.prop_map(text)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    /// Files with blank lines and line breaks of either kind, sorted or not, cut off at the end or not.
    #[test]
    fn entries_read_again_are_those_that_would_have_been_kept(
        mut lines in prop::collection::vec(lines(), 1..40),
        is_sorted in any::<bool>(),
        line_break in prop::sample::select(vec!["\n", "\r\n", "\n \r\n\n"]),
        ends in any::<bool>(),
        limit in prop::option::of(1..40_usize),
        kept_bytes_max in 0..4_000_usize,
    ) {
        if is_sorted {
            lines.sort_by_key(|line| line.1);
        }
        let mut text = lines.iter().map(|line| line.0.as_str()).collect::<Vec<_>>().join(line_break);
        text += if ends { line_break } else { "" };
        let file = file(&text);
        let (mut seen_first, mut seen) = (Vec::new(), Vec::new());
        let kept = read_file(file.path(), &ReadOptions { limit, ..KEPT }, &mut |entry| seen_first.push(entry.clone()));
        let again = ReadOptions { limit, kept_bytes_max, ..KEPT };
        let again = read_file(file.path(), &again, &mut |entry| seen.push(entry.clone()));
        prop_assert_eq!(&seen, &seen_first, "both are shown everything");
        let (Ok(kept), Ok(mut again)) = (kept, again) else { return Ok(()) };
        prop_assert!(kept.is_kept());
        prop_assert_eq!((again.num_requests, &again.notes), (kept.num_requests, &kept.notes));
        seen.sort_by_key(|entry| entry.arrival);
        prop_assert_eq!(kept.into_entries().collect::<Vec<_>>(), seen);
        if again.num_requests % 2 == 0 {
            prop_assert_eq!(again.keep().expect("the file is as it was"), &seen_first_sorted(seen_first));
            return Ok(());
        }
        let mut entries = again.into_entries();
        prop_assert_eq!(entries.by_ref().collect::<Vec<_>>(), seen_first_sorted(seen_first));
        prop_assert!(entries.finish().is_ok());
    }
}

fn seen_first_sorted(mut entries: Vec<Entry>) -> Vec<Entry> {
    entries.sort_by_key(|entry| entry.arrival);
    entries
}

#[test]
fn only_what_is_too_long_and_in_order_is_read_again() {
    let check = |text: &str, kept_bytes_max: usize, is_kept: bool| {
        let workload = read_well(file(text).path(), &ReadOptions { kept_bytes_max, ..KEPT });
        assert_eq!(workload.is_kept(), is_kept, "{text} with {kept_bytes_max}");
    };
    let entry_bytes = size_of::<Entry>();
    let lines = |arrivals: &[u64]| arrivals.iter().map(|&arrival_ns| line(arrival_ns)).collect::<String>();
    check(&lines(&[1, 2, 2]), 3 * entry_bytes, true);
    check(&lines(&[1, 2, 2]), 3 * entry_bytes - 1, false);
    check(&lines(&[2, 1, 2]), 0, true);
    // Found out when the first entries are gone.
    check(&lines(&[1, 2, 0]), 0, true);
    check(&long_text(), 1_000 * entry_bytes, false);
    // Ids count.
    let ids = r#"{"input_toks": 3, "output_toks": 2, "arrival_time_ns": 0, "input_tok_ids": [1, 2, 3]}"#;
    check(ids, entry_bytes + 12, true);
    check(ids, entry_bytes + 11, false);
}

#[test]
fn a_file_that_changes_is_a_fault() {
    let text = long_text();
    let check = |change: &dyn Fn(&str) -> String, at_least: usize| {
        let file = file(&text);
        let told = |fault: &dyn ToString| {
            let expected = format!("{}: has changed since it was checked", file.path().display());
            assert!(fault.to_string().starts_with(&expected), "{}", fault.to_string());
        };
        let [again, mut kept] = [(); 2].map(|()| read_well(file.path(), &READ_AGAIN));
        assert!(!again.is_kept());
        fs::write(file.path(), change(&text)).expect("the temporary file");
        let mut entries = again.into_entries();
        let num_entries = entries.by_ref().count();
        assert!((at_least..10_000).contains(&num_entries), "{num_entries} entries");
        assert!(entries.next().is_none());
        told(&entries.finish().expect_err("the file has changed"));
        told(&kept.keep().expect_err("the file has changed"));
        assert_eq!(kept.into_entries().count(), 0);
    };
    check(&|text| text.replacen('3', "4", 1), 0);
    // Blocks before the change are as they were.
    check(&|text| text.replace(": 9999000}", ": 9999001}"), 3_000);
    check(&|text| text.to_owned() + &line(99_999_999), 3_000);
    check(&|text| text[..text.len() / 2].to_owned(), 0);
    check(&|text| text[line(0).len()..].to_owned(), 0);
    check(&|_| line(0), 0);
}

/// As editors replace files: the one that was checked is still there for the one who has it open.
#[test]
fn a_file_that_is_replaced_is_read_as_it_was() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("w.jsonl");
    fs::write(&path, long_text()).expect("a temporary file");
    let workload = read_well(&path, &READ_AGAIN);
    fs::write(folder.path().join("new"), line(0)).expect("a temporary file");
    fs::rename(folder.path().join("new"), &path).expect("the file replaced");
    let mut entries = workload.into_entries();
    assert_eq!(entries.by_ref().count(), 10_000);
    assert!(entries.finish().is_ok());
}

#[test]
fn texts_stay_in_memory() {
    let workload = read_str("w.jsonl", &long_text(), &READ_AGAIN, &mut |_| ()).expect("a workload");
    assert!(workload.is_kept());
    assert_eq!(workload.into_entries().count(), 10_000);
}

#[cfg(unix)]
#[test]
fn what_comes_through_a_pipe_stays_in_memory() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&path).stderr(Stdio::null()).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut pipe = fs::File::options().write(true).open(&path).expect("the pipe");
            long_text().as_bytes().chunks(1_000).for_each(|part| pipe.write_all(part).expect("a reader"));
        });
        let workload = read_well(&path, &READ_AGAIN);
        assert!(workload.is_kept());
        assert_eq!(workload.into_entries().collect::<Vec<_>>(), {
            let text = file(&long_text());
            read_well(text.path(), &KEPT).into_entries().collect::<Vec<_>>()
        });
    });
}
