//! What is measured, beside what is asked for.

use std::fmt::Write as _;

use super::lab::{Runs, Spent, median_of, median_ratio};

/// What `--engine vllm` may cost, over `--engine reference`.
const VLLM_COST_MOST: f64 = 1.2;

/// What a figure must come to.
#[derive(Clone, Copy)]
pub(crate) struct Goal {
    value: f64,
    is_most: bool,
    unit: &'static str,
}

impl Goal {
    pub(crate) const fn at_most(value: f64, unit: &'static str) -> Self {
        Self { value, is_most: true, unit }
    }

    pub(crate) const fn at_least(value: f64, unit: &'static str) -> Self {
        Self { value, is_most: false, unit }
    }

    /// How many times better than asked for; 1 is just enough.
    fn margin(self, value: f64) -> f64 {
        if self.is_most { self.value / value } else { value / self.value }
    }
}

/// One target.
pub(crate) struct Row {
    /// The group of targets that it is of.
    group: &'static str,
    what: String,
    goal: Goal,
    /// With `--engine reference`.
    reference: Result<f64, String>,
    /// With `--engine vllm`. `None` where engines play no part.
    vllm: Option<Result<Vllm, String>>,
}

/// What a target comes to with `--engine vllm`.
pub(crate) struct Vllm {
    value: f64,
    /// What it costs over `--engine reference`, where they are compared.
    cost: Option<f64>,
    is_met: bool,
}

impl Vllm {
    /// `cost` is what it costs over `--engine reference`.
    pub(crate) fn beside(value: f64, cost: f64) -> Self {
        Self { value, cost: Some(cost), is_met: cost <= VLLM_COST_MOST }
    }
}

impl Row {
    /// The median of a `figure` of the command's runs with each engine.
    pub(crate) fn of_engines(
        group: &'static str,
        what: impl Into<String>,
        goal: Goal,
        engines: [&Runs; 2],
        figure: impl Fn(&Spent) -> f64,
    ) -> Self {
        let [reference, vllm] = engines;
        let cost = match goal.is_most {
            true => median_ratio(vllm, reference, &figure),
            false => median_ratio(reference, vllm, &figure),
        };
        let vllm = median_of(vllm, &figure).and_then(|value| Ok(Vllm::beside(value, cost?)));
        Self::new(group, what, goal, median_of(reference, &figure), Some(vllm))
    }

    /// The median of a `figure` of a command's runs.
    pub(crate) fn of(
        group: &'static str,
        what: impl Into<String>,
        goal: Goal,
        runs: &Runs,
        figure: impl Fn(&Spent) -> f64,
    ) -> Self {
        Self::new(group, what, goal, median_of(runs, figure), None)
    }

    pub(crate) fn new(
        group: &'static str,
        what: impl Into<String>,
        goal: Goal,
        reference: Result<f64, String>,
        vllm: Option<Result<Vllm, String>>,
    ) -> Self {
        Self { group, what: what.into(), goal, reference, vllm }
    }

    /// A target that compares within an engine, such as that a cost stays flat: each engine has to meet it by itself.
    pub(crate) fn of_each(
        group: &'static str,
        what: impl Into<String>,
        goal: Goal,
        engines: [Result<f64, String>; 2],
    ) -> Self {
        let [reference, vllm] = engines;
        let vllm = vllm.map(|value| Vllm { value, cost: None, is_met: goal.margin(value) >= 1.0 });
        Self::new(group, what, goal, reference, Some(vllm))
    }

    fn cells(&self) -> [String; 8] {
        let Self { goal, .. } = self;
        let sign = if goal.is_most { "≤" } else { "≥" };
        let asked = format!("{sign} {} {}", number(goal.value), goal.unit).trim_end().to_owned();
        let verdict = |is_met: bool| if is_met { "ok" } else { "**missed**" }.to_owned();
        let [value, margin, met] = match &self.reference {
            Ok(value) => {
                let margin = goal.margin(*value);
                [number(*value), format!("{margin:.2}"), verdict(margin >= 1.0)]
            }
            Err(_) => ["failed".to_owned(), String::new(), verdict(false)],
        };
        let [vllm, cost] = match &self.vllm {
            None => ["".to_owned(), "".to_owned()],
            Some(Ok(Vllm { value, cost, is_met })) => {
                let cost = cost.map_or_else(String::new, |cost| format!("{cost:.2} "));
                [number(*value), cost + &verdict(*is_met)]
            }
            Some(Err(_)) => ["failed".to_owned(), verdict(false)],
        };
        [self.group.to_owned(), self.what.clone(), asked, value, margin, met, vllm, cost]
    }

    /// Why it could not be measured.
    fn failures(&self) -> impl Iterator<Item = &str> {
        let vllm = self.vllm.as_ref().and_then(|vllm| vllm.as_ref().err());
        self.reference.as_ref().err().into_iter().chain(vllm).map(String::as_str)
    }
}

/// All targets, as a table of Markdown that can be read as it is, and below it why some could not be measured.
pub(crate) fn table(rows: &[Row]) -> String {
    let head = [
        "target",
        "figure",
        "goal",
        "`--engine reference`",
        "times better",
        "",
        "`--engine vllm`",
        "its cost over reference (≤ 1.2)",
    ];
    let mut lines: Vec<Vec<String>> = vec![head.map(str::to_owned).into()];
    lines.extend(rows.iter().map(|row| row.cells().into()));
    let mut text = markdown(&lines);
    let mut failures: Vec<String> = Vec::new();
    for row in rows {
        failures.extend(row.failures().map(|message| format!("{}: {}: {message}", row.group, row.what)));
    }
    failures.dedup();
    if !failures.is_empty() {
        let _ = writeln!(text, "\nFailed:\n\n- {}", failures.join("\n- "));
    }
    text
}

/// Lines of cells as a table of Markdown, in columns of equal width; the first line is the head.
pub(crate) fn markdown(lines: &[Vec<String>]) -> String {
    let num_columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<usize> = (0..num_columns).map(width).collect();
    let mut text = String::new();
    for (index, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(&widths) {
            let _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if index == 0 {
            widths.iter().for_each(|width| text.push_str(&format!("|{}", "-".repeat(width + 2))));
            text.push_str("|\n");
        }
    }
    text
}

/// A number to three digits or so, with thousands apart.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 9.995 {
        return format!("{value:.2}");
    }
    if value.abs() < 99.95 {
        return format!("{value:.1}");
    }
    // To three digits where it is large.
    let scale = 10_f64.powi((value.abs().log10().floor() as i32 - 2).max(0));
    grouped((value / scale).round() * scale)
}

/// A whole number, in threes.
pub(crate) fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        let numbers = [0.5, 8.0, 12.34, 999.4, 1_234.0, 211_567.0, 1_000_000.0].map(number);
        assert_eq!(numbers, ["0.50", "8.00", "12.3", "999", "1,230", "212,000", "1,000,000"]);
        assert_eq!([8.0, 1_024.0].map(grouped), ["8", "1,024"]);
    }

    #[test]
    fn a_target_is_met_from_either_side() {
        let cells = |goal, value| Row::new("g", "w", goal, Ok(value), None).cells();
        assert_eq!(cells(Goal::at_most(8.0, "ms"), 4.0)[2..6], ["≤ 8.00 ms", "4.00", "2.00", "ok"]);
        assert_eq!(cells(Goal::at_least(8.0, "x"), 4.0)[2..6], ["≥ 8.00 x", "4.00", "0.50", "**missed**"]);
    }

    #[test]
    fn failures_are_rows_too() {
        let row = Row::new(
            "g",
            "w",
            Goal::at_most(1.0, ""),
            Err("no such flag".to_owned()),
            Some(Err("nor here".to_owned())),
        );
        assert_eq!(row.cells()[3..], ["failed", "", "**missed**", "failed", "**missed**"]);
        let below = "\nFailed:\n\n- g: w: no such flag\n- g: w: nor here\n";
        assert!(table(&[row]).ends_with(below));
    }
}
