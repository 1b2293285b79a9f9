//! Exports the traces of a run and replays them: batches end as they ended in the run, to the nanosecond.

use std::collections::BTreeMap;
use std::fs;

use crate::support::Folder;

/// A row of a table by column.
pub(crate) type Row = BTreeMap<String, String>;

/// The rows of a table. None of these has quoted fields.
pub(crate) fn rows(text: &str) -> Vec<Row> {
    let mut lines = text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let header = lines.next().expect("a header");
    lines.map(|fields| header.iter().cloned().zip(fields).collect()).collect()
}

/// How many parts of batches were compared.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compared {
    /// In the replay of the whole schedule.
    pub(crate) scheduled: usize,
    /// In the replay of the one batch.
    pub(crate) alone: usize,
    /// That ran beside an earlier batch of their group, so that they may end otherwise alone.
    pub(crate) overlapping: usize,
}

impl std::ops::AddAssign for Compared {
    fn add_assign(&mut self, other: Self) {
        self.scheduled += other.scheduled;
        self.alone += other.alone;
        self.overlapping += other.overlapping;
    }
}

/// Runs with `flags` in `folder`, exports `batches` to `traces` and replays them.
pub(crate) fn export_and_replay(folder: &Folder, flags: &[&str], batches: &str) -> Compared {
    let export = ["run", "--quiet", "--chakra-dir", "traces", "--chakra-batches", batches];
    let said = folder.run(&[&export, flags].concat());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{flags:?}: {said}");
    let said = folder.run(&["replay", "--schedule", "traces"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{flags:?}: {said}");
    let replayed = rows(&said.stdout);
    for row in &replayed {
        assert_eq!(row["recorded_ns"], row["replayed_ns"], "{flags:?}: {row:?}");
    }
    let parts = rows(&fs::read_to_string(folder.path("traces/batches.csv")).expect("a table of the batches"));
    assert_eq!(replayed.len(), parts.len(), "{flags:?}: each batch is replayed");
    let mut compared = Compared { scheduled: parts.len(), ..Compared::default() };
    if !flags.windows(2).any(|pair| pair == ["--polling", "reference"]) {
        // LLMServingSim's polling hands a batch to its NPUs one after the other, which a batch alone knows nothing of.
        replay_alone(folder, &parts, &mut compared);
    }
    compared
}

fn replay_alone(folder: &Folder, parts: &[Row], compared: &mut Compared) {
    let number = |row: &Row, column: &str| row[column].parse::<u64>().expect("a whole number");
    let mut by_batch: BTreeMap<(u64, u64), Vec<&Row>> = BTreeMap::new();
    for part in parts {
        by_batch.entry((number(part, "group"), number(part, "batch"))).or_default().push(part);
    }
    for (&(group, batch), parts) in &by_batch {
        let begin_ns = parts.iter().map(|part| number(part, "begin_ns")).min().expect("a part");
        let is_overlapping = by_batch
            .range((group, 0)..(group, batch))
            .flat_map(|(_, earlier)| earlier)
            .any(|part| number(part, "end_ns") > begin_ns);
        if is_overlapping {
            compared.overlapping += parts.len();
            continue;
        }
        let workload = format!("traces/{}", parts[0]["traces"]);
        let [network, system, memory] =
            ["network.yml", "system.json", "memory.json"].map(|name| format!("traces/group{group}/{name}"));
        let files = ["--network", &network, "--system", &system, "--memory", &memory];
        let said = folder.run(&[&["replay", "--workload", &workload], &files[..]].concat());
        assert_eq!(said.code, Some(0), "{said}");
        let ends: Vec<u64> = said
            .stdout
            .lines()
            .map(|line| {
                let cycles = line.split(", ").nth(1).and_then(|part| part.strip_suffix(" cycles"));
                cycles.and_then(|cycles| cycles.parse().ok()).expect("a line of ASTRA-Sim's")
            })
            .collect();
        for part in parts {
            let first = number(part, "first_npu") as usize;
            let npus = first..first + number(part, "num_npus") as usize;
            let end = ends[npus].iter().max().expect("an NPU");
            assert_eq!(begin_ns + end, number(part, "end_ns"), "batch {batch} of group {group} alone: {part:?}");
        }
        compared.alone += parts.len();
    }
}
