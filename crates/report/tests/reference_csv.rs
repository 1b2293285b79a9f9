//! The reference's result files, taken apart and written again.

use std::fs;

use engine::{FinishedRequest, Observer};
use metrics::{InstanceLayout, Layout};
use report::CsvWriter;
use units::{Duration, InstanceId, Instant, RequestId};

#[test]
fn reference_files_are_written_again_byte_for_byte() {
    let Some(dir) = testkit::reference_dir() else { return };
    let (mut num_files, mut num_rows) = (0, 0);
    for file in fs::read_dir(dir.join("golden/examples")).expect("the folder of results") {
        let path = file.expect("a folder entry").path();
        if !path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_run.csv")) {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a readable result");
        num_rows += write_again(&path.display().to_string(), &text);
        num_files += 1;
    }
    println!("{num_files} files, {num_rows} rows, all equal");
    assert!(num_files >= 20 && num_rows >= 200, "{num_files} files, {num_rows} rows");
}

/// Checks one file and returns how many rows it has.
fn write_again(name: &str, text: &str) -> usize {
    let rows: Vec<Row> = text.lines().skip(1).map(Row::parse).collect();
    let mut layout = Layout::default();
    for row in &rows {
        let instances = row.instance as usize + 1;
        layout.instances.resize(instances.max(layout.instances.len()), InstanceLayout::default());
        layout.instances[row.instance as usize].model.clone_from(&row.model);
    }
    let mut csv = CsvWriter::new(Vec::new(), &layout);
    rows.iter().for_each(|row| row.finish(&mut csv));
    let bytes = csv.finish().expect("memory takes everything");
    assert_eq!(String::from_utf8_lossy(&bytes), text, "{name}");
    rows.len()
}

struct Row {
    instance: u32,
    model: String,
    /// The columns without the model's, up to the list.
    numbers: Vec<u64>,
    itl: Vec<Duration>,
}

impl Row {
    fn parse(line: &str) -> Self {
        let (columns, itl) = line.split_once('[').expect("a list of latencies");
        let columns: Vec<_> = columns.trim_end_matches(['"', ',']).split(',').collect();
        let number = |text: &str| text.parse::<u64>().expect("a whole number");
        let itl = itl.trim_end_matches(['"', ']']).split(", ").filter(|text| !text.is_empty());
        Self {
            instance: number(columns[0]) as u32,
            model: columns[2].to_owned(),
            numbers: columns[..2].iter().chain(&columns[3..]).map(|text| number(text)).collect(),
            itl: itl.map(|text| Duration::from_ns(number(text))).collect(),
        }
    }

    /// Latency and TPOT are left out: they follow from the rest.
    fn finish(&self, csv: &mut impl Observer) {
        let [_, id, input_tokens, output_tokens, arrival, end, _, queuing_delay, ttft, _] = self.numbers[..] else {
            panic!("eleven columns and a list");
        };
        csv.request_finished(&FinishedRequest {
            instance: InstanceId(self.instance),
            id: RequestId(id),
            input_tokens,
            output_tokens,
            arrival: Instant::from_ns(arrival),
            end: Instant::from_ns(end),
            queuing_delay: Duration::from_ns(queuing_delay),
            ttft: Duration::from_ns(ttft),
            itl: self.itl.as_slice().into(),
            prefix_hit_tokens: 0,
            preemptions: 0,
            stamps: engine::Stamps::default(),
        });
    }
}
