//! Files of JSON: which of the formats they are in. Their keys tell, not their names.
//!
//! Some hold a value a line, one for each request or for each run; others are one value over many lines. A file whose
//! first line is JSON by itself is of the first kind.

use diagnostics::Fault;
use documents::json::{Cursor, Object};

use super::{Reader, aiperf, bench_serving, guidellm, recording};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// A request a line, as vLLM's engine stamped it.
    Recording,
    /// A run a line, or one over many lines: `vllm bench serve` and SGLang's `bench_serving`.
    BenchServing,
    /// A request a line: AIPerf.
    AiperfRecords,
    /// One run, of which only sums are told: AIPerf and GenAI-Perf.
    AiperfSums,
    /// Several runs: GuideLLM.
    Guidellm,
    /// What Perf Analyzer leaves for GenAI-Perf.
    PerfAnalyzer,
}

impl Format {
    fn of(object: &Object<'_>) -> Self {
        let has = |key: &str| object.get(key).is_some();
        let is_object = |key: &str| object.get(key).is_some_and(|value| value.is_object());
        if object.get("benchmarks").is_some_and(|value| value.is_array()) {
            Format::Guidellm
        } else if has("experiments") {
            Format::PerfAnalyzer
        } else if is_object("metadata") && is_object("metrics") {
            Format::AiperfRecords
        } else if aiperf::METRICS.iter().any(|&(key, _)| is_object(key)) {
            Format::AiperfSums
        } else if has("ttfts") || has("request_throughput") || has("total_input_tokens") {
            Format::BenchServing
        } else {
            Format::Recording
        }
    }

    /// Whether each line is a value by itself.
    const fn is_by_line(self) -> bool {
        matches!(self, Format::Recording | Format::AiperfRecords | Format::BenchServing)
    }
}

/// `text` holds something.
pub(super) fn read(text: &str, reader: &mut Reader<'_>) {
    let lines: Vec<(usize, &str)> = text
        .lines()
        .zip(1..)
        .map(|(line, number)| (number, line))
        .filter(|(_, line)| !line.trim().is_empty())
        .collect();
    match lines.first().and_then(|(_, line)| format_of(line)) {
        Some(format) if format.is_by_line() => read_lines(format, &lines, reader),
        _ => reader.json(text, 1, |value, reader| {
            if let Some(object) = value.object() {
                read_whole(&object, value, reader);
            }
        }),
    }
}

/// `None` where the line by itself is no JSON.
fn format_of(line: &str) -> Option<Format> {
    let mut format = None;
    Reader::new("", None).json(line, 1, |value, _| format = value.object().as_ref().map(Format::of));
    format
}

fn read_lines(format: Format, lines: &[(usize, &str)], reader: &mut Reader<'_>) {
    match format {
        Format::BenchServing => {
            if let Some(&(number, line)) = reader.choose(lines.len()).and_then(|index| lines.get(index)) {
                reader.json(line, number, |value, reader| {
                    if let Some(object) = value.object() {
                        bench_serving::read(&object, reader);
                    }
                });
            }
        }
        Format::AiperfRecords => {
            reader.one_run();
            aiperf::read_records(lines, reader);
        }
        _ => {
            reader.one_run();
            recording::read(lines, reader);
        }
    }
}

fn read_whole(object: &Object<'_>, value: &Cursor<'_>, reader: &mut Reader<'_>) {
    let format = Format::of(object);
    if format != Format::Guidellm {
        reader.one_run();
    }
    match format {
        Format::Guidellm => guidellm::read(object, reader),
        Format::BenchServing => bench_serving::read(object, reader),
        Format::AiperfSums => aiperf::read_sums(object, reader),
        Format::PerfAnalyzer => {
            let fault = Fault::new(reader.name, "tells when responses came, and not how many tokens they had");
            reader.fault(fault.hint("give what GenAI-Perf made of it: `profile_export_genai_perf.json`"));
        }
        Format::Recording | Format::AiperfRecords => {
            value.push(value.place().fault("a request of such a file must stand in one line"));
        }
    }
}
