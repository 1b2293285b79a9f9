use std::fs;

use super::*;

/// Counts what it sees, and breaks a run off after so many requests.
struct Counter {
    num_requests: u64,
    num_intervals: u64,
    most: u64,
}

impl Watcher for Counter {
    fn request_finished(&mut self, _: &FinishedRequest<'_>) {
        self.num_requests += 1;
    }

    fn interval_ended(&mut self, _: &IntervalResults) {
        self.num_intervals += 1;
    }

    fn goes_on(&mut self) -> bool {
        self.num_requests < self.most
    }
}

fn watch(flags: &[&str], given: Given, most: u64) -> (Option<String>, Counter) {
    let run = Run::prepare(&flags.iter().map(OsString::from).collect::<Vec<_>>(), given);
    let run = run.unwrap_or_else(|faults| panic!("{faults}"));
    let mut counter = Counter { num_requests: 0, num_intervals: 0, most };
    let outcome = run.run(None, &mut counter).expect("a run");
    (outcome.map(|outcome| report::summary_json(&outcome.summary)), counter)
}

fn faults(flags: &[&str], given: Given) -> String {
    let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
    Run::prepare(&flags, given).err().expect("faults").to_string()
}

fn given(cluster: &str, workload: &str) -> Given {
    let of = |name: &str, text: &str| Some(Text { name: name.to_owned(), text: text.to_owned() });
    Given { cluster: of("cluster", cluster), workload: of("requests", workload) }
}

#[test]
fn what_is_in_memory_runs_as_files_do() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let example = &examples::EXAMPLES[0];
    let [cluster, workload] = [example.cluster, example.workload].map(|file| {
        let path = folder.path().join(file.name);
        fs::write(&path, file.text).expect("a file in the temporary folder");
        path.display().to_string()
    });
    let seed = "--seed=7";
    let (expected, counter) = watch(&[seed], Given::default(), u64::MAX);
    assert_eq!((counter.num_requests, counter.num_intervals), (64, 10));
    let files = [seed, &format!("--cluster-config={cluster}"), &format!("--dataset={workload}")];
    assert_eq!(watch(&files, Given::default(), u64::MAX).0, expected);
    assert_eq!(watch(&[seed], given(example.cluster.text, example.workload.text), u64::MAX).0, expected);
    // A cluster alone runs on the first example's workload.
    assert_eq!(watch(&files[..2], Given::default(), u64::MAX).0, expected);
}

#[test]
fn a_run_that_is_broken_off_writes_nothing() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = format!("--output={}", folder.path().join("out.csv").display());
    let (summary, counter) = watch(&[&output], Given::default(), 5);
    assert_eq!((summary, counter.num_requests), (None, 5));
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

#[test]
fn faults_are_told_as_by_the_command() {
    insta::assert_snapshot!(faults(&["--seed=x", "--engine=vlm", "--max-num-seqs=-1"], Given::default()));
    insta::assert_snapshot!(faults(&["--output-stamps"], Given::default()));
    insta::assert_snapshot!(faults(&["--example=moe-ep"], given("{}", "")));
    insta::assert_snapshot!(faults(&["--block-size=0"], given("{}", "{\"input_toks\": 1}\n{}")));
}

#[test]
fn flags_are_described() {
    let flags = run_flags();
    let named = |name: &str| flags.iter().find(|flag| flag.name == name).expect(name);
    assert_eq!(named("engine").values, ["reference", "vllm"]);
    assert_eq!((named("seed").default.as_deref(), named("seed").value_name.as_deref()), (Some("42"), Some("N")));
    assert!(named("without").takes_list && !named("engine").takes_list && !named("enforce-eager").takes_value);
    assert_eq!(named("num-reqs").aliases, ["num-req"]);
    assert_eq!(named("run-id").help, None);
    assert_eq!(named("enforce-eager").default, None);
}
