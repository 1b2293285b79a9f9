//! Reading what `servingsim run --trace` writes.

use std::collections::BTreeMap;

use serde_json::Value;

/// A slice of a thread, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slice {
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) begin: u64,
    pub(crate) end: u64,
    pub(crate) args: Value,
}

impl Slice {
    pub(crate) fn time(&self) -> u64 {
        self.end - self.begin
    }

    /// A number that is told of it.
    pub(crate) fn number(&self, key: &str) -> u64 {
        self.args[key].as_u64().unwrap_or_else(|| panic!("{key} of {self:?}"))
    }

    /// A time that is told of it.
    pub(crate) fn ns(&self, key: &str) -> u64 {
        ns(&self.args[key])
    }
}

/// A trace that has been checked: every event has what its kind needs, and slices nest.
#[derive(Debug, Default)]
pub(crate) struct PerfettoTrace {
    /// By the names of process and thread, in the order of the file.
    pub(crate) threads: BTreeMap<(String, String), Vec<Slice>>,
    /// By the name of the process and its own, when and what it became.
    pub(crate) counters: BTreeMap<(String, String), Vec<(u64, Value)>>,
    /// By id, where and when each arrow begins, and where and when it ends.
    pub(crate) arrows: BTreeMap<u64, [Option<(String, u64)>; 2]>,
}

/// Microseconds with three decimals at most.
fn ns(value: &Value) -> u64 {
    let us = value.as_f64().unwrap_or_else(|| panic!("a number: {value}"));
    let ns = (us * 1000.0).round();
    assert!((us * 1000.0 - ns).abs() < 1e-2, "{value} is no whole nanosecond");
    ns as u64
}

impl PerfettoTrace {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let document: Value = serde_json::from_slice(bytes).expect("a trace is JSON");
        let events = document["traceEvents"].as_array().expect("events");
        let number = |event: &Value, key: &str| event[key].as_u64().unwrap_or_else(|| panic!("{key}: {event}"));
        let text =
            |event: &Value, key: &str| event[key].as_str().unwrap_or_else(|| panic!("{key}: {event}")).to_owned();
        let mut processes = BTreeMap::new();
        let mut threads = BTreeMap::new();
        for event in events.iter().filter(|event| event["ph"] == "M") {
            let whose = (number(event, "pid"), number(event, "tid"));
            match (text(event, "name").as_str(), &event["args"]) {
                ("process_name", args) => drop(processes.insert(whose.0, text(args, "name"))),
                ("thread_name", args) => {
                    assert!(threads.insert(whose, text(args, "name")).is_none(), "named twice: {event}");
                }
                ("process_sort_index" | "thread_sort_index", args) => drop(number(args, "sort_index")),
                _ => panic!("unknown metadata: {event}"),
            }
        }
        let mut trace = Self::default();
        for event in events {
            let (pid, tid) = (number(event, "pid"), number(event, "tid"));
            let name = text(event, "name");
            let thread = || (processes[&pid].clone(), threads[&(pid, tid)].clone());
            match text(event, "ph").as_str() {
                "M" => {}
                "X" => {
                    let begin = ns(&event["ts"]);
                    let (end, args) = (begin + ns(&event["dur"]), event["args"].clone());
                    assert!(begin < end, "a slice takes time: {event}");
                    let slice = Slice { name, category: text(event, "cat"), begin, end, args };
                    trace.threads.entry(thread()).or_default().push(slice);
                }
                "C" => {
                    let values = event["args"].clone();
                    assert!(values.as_object().is_some_and(|values| values.values().all(Value::is_number)), "{event}");
                    let counter = trace.counters.entry((processes[&pid].clone(), name)).or_default();
                    counter.push((ns(&event["ts"]), values));
                }
                phase @ ("s" | "f") => {
                    let arrow = trace.arrows.entry(number(event, "id")).or_default();
                    let end = &mut arrow[usize::from(phase == "f")];
                    assert!(end.is_none(), "an arrow twice: {event}");
                    *end = Some((processes[&pid].clone(), ns(&event["ts"])));
                    let holds = |slice: &Slice| slice.begin == ns(&event["ts"]);
                    assert!(trace.threads[&thread()].iter().any(holds), "an arrow at no slice: {event}");
                }
                _ => panic!("unknown kind: {event}"),
            }
        }
        trace.check_nesting();
        trace
    }

    /// As Perfetto reads them: by begin, and those of one begin in the order of the file.
    fn check_nesting(&self) {
        for (thread, slices) in &self.threads {
            let mut sorted: Vec<&Slice> = slices.iter().collect();
            sorted.sort_by_key(|slice| slice.begin);
            let mut open: Vec<&Slice> = Vec::new();
            for slice in sorted {
                while open.last().is_some_and(|outer| outer.end <= slice.begin) {
                    open.pop();
                }
                let outer = open.last().map_or(u64::MAX, |outer| outer.end);
                assert!(slice.end <= outer, "{thread:?}: {slice:?} overlaps {:?}", open.last());
                open.push(slice);
            }
        }
        for (counter, values) in &self.counters {
            assert!(values.windows(2).all(|pair| pair[0].0 < pair[1].0), "{counter:?} goes back in time");
            assert!(values.windows(2).all(|pair| pair[0].1 != pair[1].1), "{counter:?} is told to stay");
        }
    }

    /// All slices of a category, each with its process and thread.
    pub(crate) fn of<'t>(&'t self, category: &'t str) -> impl Iterator<Item = (&'t str, &'t str, &'t Slice)> {
        let slices = self.threads.iter().flat_map(|((process, thread), slices)| {
            slices.iter().map(move |slice| (process.as_str(), thread.as_str(), slice))
        });
        slices.filter(move |(_, _, slice)| slice.category == category)
    }
}
