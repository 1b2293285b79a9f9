//! `cargo xtask validate`: the part of docs/validation.md that compares with recorded runs of vLLM, written anew.

mod figures;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use testkit::Recording;

use crate::marked::Marked;

const FIGURES: [(&str, &str); 5] =
    [("mean", "mean"), ("median", "median"), ("p90", "P90"), ("p95", "P95"), ("p99", "P99")];

/// The shipped preset is what is fitted to the runs marked so.
const PRESET: &str = "vllm-0.19";

/// Parts of the engine, each with the flags that leave it out.
const PARTS: [(&str, &[&str]); 9] = [
    ("nothing left out", &[]),
    ("batches formed ahead", &["--no-async-scheduling"]),
    ("waiting in blocks of steps without a graph", &["--preset", "none"]),
    ("attention by chunk, uneven decodes", &["--without", "varlen-attention"]),
    ("padding to captured sizes alone", &["--without", "graph-padding"]),
    ("experts compute the whole group's tokens", &["--without", "group-experts"]),
    ("experts equally likely, not balanced", &["--expert-routing-policy", "BALANCED"]),
    ("routing by published loads", &["--without", "published-loads"]),
    ("agreement on being done every 32 passes", &["--without", "waves"]),
];

/// Writes the document anew, or with `check` only tells whether it would change.
pub(crate) fn validate(reference: &Path, check: bool) -> Result<(), String> {
    super::cargo(&["build", "--release", "--quiet"])?;
    let document = Marked::read("validation.md", "validate")?;
    let (section, figures) = Work::new(reference)?.section()?;
    for (name, svg) in figures {
        let path = super::root().join("docs/validation").join(&name);
        let is_there = fs::read_to_string(&path).is_ok_and(|there| there == svg);
        match (check, is_there) {
            (_, true) => {}
            (true, false) => return Err(format!("docs/validation/{name} is not what cargo xtask validate writes")),
            (false, false) => fs::write(&path, svg).map_err(|error| format!("{}: {error}", path.display()))?,
        }
    }
    match (check, document.has(&section)) {
        (_, true) => Ok(()),
        (true, false) => Err("docs/validation.md is not what cargo xtask validate writes".to_owned()),
        (false, false) => document.write(&section),
    }
}

/// Files of figures, and their texts.
type Figures = Vec<(String, String)>;

/// The command, the reference data, and a folder for results.
struct Work {
    command: PathBuf,
    reference: PathBuf,
    folder: PathBuf,
}

impl Work {
    fn new(reference: &Path) -> Result<Self, String> {
        let target = super::target_dir()?;
        let folder = target.join("validate");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let reference = reference.canonicalize().map_err(|error| format!("{}: {error}", reference.display()))?;
        Ok(Self { command: target.join("release/servingsim"), reference, folder })
    }

    fn servingsim(&self, args: &[String]) -> Result<String, String> {
        let output = Command::new(&self.command).args(args).current_dir(&self.folder).output();
        let output = output.map_err(|error| format!("{}: {error}", self.command.display()))?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => Err(format!("servingsim {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr))),
        }
    }

    /// How far a simulated run is from its recording.
    fn compare_run(&self, recording: &Recording, is_planned: bool, more: &[&str]) -> Result<Value, String> {
        let mut args: Vec<String> =
            ["run", "--quiet", "--output-stamps", "--output", "run.csv"].map(str::to_owned).into();
        args.extend(recording.run_flags(&self.reference, is_planned)?);
        args.extend(more.iter().map(|&flag| flag.to_owned()));
        self.servingsim(&args)?;
        let result = self.folder.join("run.csv");
        let mut comparison = self.compare(&result, recording)?;
        // A recording does not tell when each token came; the result by itself does.
        let series = "output_tokens_per_s";
        comparison[series] = self.compare_files(&result, &result)?[series].take();
        Ok(comparison)
    }

    fn compare(&self, result: &Path, recording: &Recording) -> Result<Value, String> {
        self.compare_files(result, &recording.measured(&self.reference))
    }

    fn compare_files(&self, a: &Path, b: &Path) -> Result<Value, String> {
        let args = ["compare", &a.display().to_string(), &b.display().to_string(), "--format", "json"];
        let text = self.servingsim(&args.map(str::to_owned))?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    }

    fn section(&self) -> Result<(String, Figures), String> {
        let mut text = String::new();
        let mut sides = Vec::new();
        for recording in &Recording::ALL {
            sides.push(Sides {
                recording,
                llmservingsim: self.compare(&recording.file(&self.reference, "outputs/sim.csv"), recording)?,
                reference: self.compare_run(recording, false, &["--engine", "reference"])?,
                vllm: self.compare_run(recording, false, &[])?,
                planned: self.compare_run(recording, true, &[])?,
                seconds: self.seconds(recording)?,
            });
        }
        overview(&mut text, &sides);
        let figures: Figures = sides.iter().map(figures::figure).collect();
        let _ = writeln!(text, "How many requests took no longer, in per cent:\n");
        for (side, (name, _)) in sides.iter().zip(&figures) {
            let _ = writeln!(text, "![{}: TTFT, TPOT and latency](validation/{name})\n", side.recording.title);
        }
        numbers(&mut text, &sides);
        over_time(&mut text, &sides);
        self.fits(&mut text)?;
        self.ablation(&mut text)?;
        Ok((text, figures))
    }

    fn seconds(&self, recording: &Recording) -> Result<Vec<[f64; 3]>, String> {
        let path = recording.file(&self.reference, "vllm/timeseries.csv");
        let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
        let mut lines = text.lines();
        let names: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
        let columns =
            ["gen_throughput", "running", "waiting"].map(|column| names.iter().position(|&name| name == column));
        let row = |line: &str| {
            let fields: Vec<&str> = line.split(',').collect();
            columns.map(|column| column.and_then(|column| fields.get(column)?.parse().ok()).unwrap_or(f64::NAN))
        };
        Ok(lines.map(row).collect())
    }

    fn describe(&self, recording: &Recording) -> Result<String, String> {
        let path = self.folder.join(format!("{}.json", recording.folder.replace('/', "-")));
        let described = json!({
            "name": recording.title,
            "args": recording.run_flags(&self.reference, false)?,
            "measured": recording.measured(&self.reference),
        });
        fs::write(&path, described.to_string()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(path.display().to_string())
    }

    /// The fit to the runs that are fitted to, which the shipped preset must be, and to all but each.
    fn fits(&self, text: &mut String) -> Result<(), String> {
        let calibrate = |recordings: &mut dyn Iterator<Item = &Recording>, more: &[&str]| {
            let mut args = vec!["calibrate".to_owned(), "--quiet".to_owned()];
            args.extend(recordings.map(|recording| self.describe(recording)).collect::<Result<Vec<_>, _>>()?);
            args.extend(more.iter().map(|&flag| flag.to_owned()));
            self.servingsim(&args)
        };
        let mut fitted = Recording::ALL.iter().filter(|recording| recording.is_fitted);
        let about = "vLLM 0.19.0, asynchronous scheduling";
        calibrate(&mut fitted, &["--name", PRESET, "--about", about, "--output", "preset.json"])?;
        let preset = fs::read_to_string(self.folder.join("preset.json")).map_err(|error| error.to_string())?;
        let shipped = super::root().join(format!("crates/config/presets/{PRESET}.json"));
        if fs::read_to_string(&shipped).ok().as_deref() != Some(&preset) {
            return Err(format!("{} is not what the fit gives:\n{preset}", shipped.display()));
        }
        let left_out = calibrate(&mut Recording::ALL.iter(), &["--leave-one-out"])?;
        let _ = writeln!(text, "The preset `{PRESET}`, fitted to the two runs so marked:\n\n```json\n{preset}```\n");
        let _ = writeln!(
            text,
            "Fitted to all runs but one, and the mean error of the one left out:\n\n```text\n{left_out}```\n"
        );
        Ok(())
    }

    fn ablation(&self, text: &mut String) -> Result<(), String> {
        let titles: Vec<_> = Recording::ALL.iter().map(|recording| recording.title).collect();
        let _ = writeln!(text, "What each part is worth: mean error, and the largest, in per cent, without it.\n");
        let _ = writeln!(text, "| left out | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
        for (part, flags) in PARTS {
            let mut row = format!("| {part} |");
            for recording in &Recording::ALL {
                let comparison = self.compare_run(recording, false, flags)?;
                let _ = write!(row, " {:.2}, {} |", mean_error(&comparison), largest(&comparison));
            }
            let _ = writeln!(text, "{row}");
        }
        Ok(())
    }
}

/// Results, each held to a recording.
struct Sides {
    recording: &'static Recording,
    /// LLMServingSim's own result.
    llmservingsim: Value,
    reference: Value,
    vllm: Value,
    /// The same with arrivals as they were planned.
    planned: Value,
    /// What the server told each second: output tokens, requests running and waiting.
    seconds: Vec<[f64; 3]>,
}

fn percent(value: &Value) -> f64 {
    value.as_f64().unwrap_or(f64::NAN) * 100.0
}

fn mean_error(comparison: &Value) -> f64 {
    percent(&comparison["mean_error"])
}

fn largest(comparison: &Value) -> String {
    format!("{:+.1}", percent(&comparison["largest_error"]["error"]))
}

fn overview(text: &mut String, sides: &[Sides]) {
    let _ = writeln!(
        text,
        "Errors in per cent over the 15 numbers (mean, median, P90, P95, P99 of TTFT, TPOT and latency), the \
         Kolmogorov–Smirnov distances of the three distributions, and the time from being first scheduled to the first \
         token.\n"
    );
    let _ = writeln!(
        text,
        "| run | result | mean error | largest | KS of TTFT, TPOT, latency | scheduled to first token: mean, median, KS |\n\
         |---|---|---|---|---|---|"
    );
    for side in sides {
        let fitted = if side.recording.is_fitted { " (fitted to)" } else { "" };
        let mut title = format!("{}{fitted}", side.recording.title);
        for (name, comparison) in [
            ("LLMServingSim", &side.llmservingsim),
            ("`--engine reference`", &side.reference),
            ("`--engine vllm`", &side.vllm),
            ("the same, arrivals as planned", &side.planned),
        ] {
            let ks = ["ttft_ms", "tpot_ms", "latency_ms"]
                .map(|metric| format!("{:.3}", comparison[metric]["ks"].as_f64().unwrap_or(f64::NAN)));
            let prefill = &comparison["prefill_ms"];
            let prefill = match prefill.is_null() {
                true => "not told".to_owned(),
                false => format!(
                    "{:+.1}, {:+.1}, {:.3}",
                    percent(&prefill["error"]["mean"]),
                    percent(&prefill["error"]["median"]),
                    prefill["ks"].as_f64().unwrap_or(f64::NAN)
                ),
            };
            let _ = writeln!(
                text,
                "| {title} | {name} | {:.2} | {} | {} | {prefill} |",
                mean_error(comparison),
                largest(comparison),
                ks.join(", ")
            );
            title.clear();
        }
    }
    let _ = writeln!(text);
}

fn numbers(text: &mut String, sides: &[Sides]) {
    let titles: Vec<_> = sides.iter().map(|side| side.recording.title).collect();
    let _ = writeln!(
        text,
        "Each number: what was measured (ms), the error of LLMServingSim, the error of `--engine vllm`.\n"
    );
    let _ = writeln!(text, "| | {} |\n|---|{}", titles.join(" | "), "---|".repeat(titles.len()));
    for (metric, name) in [("ttft_ms", "TTFT"), ("tpot_ms", "TPOT"), ("latency_ms", "latency")] {
        for (figure, figure_name) in FIGURES {
            let mut row = format!("| {name} {figure_name} |");
            for Sides { llmservingsim, vllm, .. } in sides {
                let error = |comparison: &Value| percent(&comparison[metric]["error"][figure]);
                let value = vllm[metric]["b"][figure].as_f64().unwrap_or(f64::NAN);
                let _ = write!(row, " {value:.1}, {:+.1} %, {:+.1} % |", error(llmservingsim), error(vllm));
            }
            let _ = writeln!(text, "{row}");
        }
    }
    let _ = writeln!(text);
}

/// Parts into which a run is divided.
const NUM_PARTS: usize = 10;

fn over_time(text: &mut String, sides: &[Sides]) {
    let _ = writeln!(
        text,
        "Over time, in tenths of the longest of a run and its simulations: means of what the server told each second (requests running and waiting at its end, ours over all of it), \
         of `--engine reference` and of `--engine vllm`; last, how far a second of either is from the server's.\n"
    );
    let _ = writeln!(
        text,
        "| run | | result |{} a second |\n|---|---|---|{}---|",
        " |".repeat(NUM_PARTS),
        "---|".repeat(NUM_PARTS)
    );
    for Sides { recording, reference, vllm, seconds, .. } in sides {
        let mut title = recording.title;
        for (index, (quantity, name)) in
            [("output_tokens_per_s", "tokens/s"), ("running", "running"), ("waiting", "waiting")]
                .into_iter()
                .enumerate()
        {
            let simulated = |comparison: &Value| -> Vec<f64> {
                let values = comparison[quantity]["a"].as_array();
                values.map_or_else(Vec::new, |values| values.iter().filter_map(Value::as_f64).collect())
            };
            let told: Vec<f64> = seconds.iter().map(|second| second[index]).collect();
            let rows = [("vLLM", told.clone()), ("reference", simulated(reference)), ("vllm", simulated(vllm))];
            let length = rows.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
            for (row, (result, values)) in rows.into_iter().enumerate() {
                let value = |values: &[f64], second: usize| values.get(second).copied().unwrap_or(0.0);
                let apart = (0..length).map(|second| (value(&values, second) - value(&told, second)).abs());
                let difference =
                    if row == 0 { String::new() } else { format!("{:.1}", apart.sum::<f64>() / length as f64) };
                let name = if row == 0 { name } else { "" };
                let parts = tenths(&values, length).map(|mean| format!("{mean:.0}")).join(" | ");
                let _ = writeln!(text, "| {title} | {name} | {result} | {parts} | {difference} |");
                title = "";
            }
        }
    }
    let _ = writeln!(text);
}

/// Means of parts of equal length, of a series that is zero from its end to `length`.
fn tenths(values: &[f64], length: usize) -> [f64; NUM_PARTS] {
    let bound = |part: usize| part * length / NUM_PARTS;
    std::array::from_fn(|part| {
        let sum: f64 = (bound(part)..bound(part + 1)).filter_map(|index| values.get(index)).sum();
        sum / (bound(part + 1) - bound(part)).max(1) as f64
    })
}
