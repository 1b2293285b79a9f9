//! Distributions of recorded runs and of their simulations, drawn over each other (SVG).

use std::fmt::Write as _;

use serde_json::Value;

use super::Sides;
use crate::bench::mark_step;

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 290.0;
/// Of one panel, within its axes.
const PANEL_WIDTH: f64 = 262.0;
const PANEL_GAP: f64 = 56.0;
const LEFT: f64 = 46.0;
const TOP: f64 = 60.0;
const BOTTOM: f64 = 242.0;

/// Points of a line: percentiles from 0 to 100 in equal steps.
const NUM_STEPS: usize = 100;

const STYLE: &str = "
  text { font: 12px sans-serif; fill: #333; }
  .title { font-size: 14px; font-weight: bold; }
  .grid { stroke: #ddd; }
  polyline { fill: none; stroke-width: 1.8; }
  .vllm-measured { stroke: #8c959f; stroke-width: 5; }
  .llmservingsim { stroke: #8250df; stroke-dasharray: 2 3; }
  .reference { stroke: #bc4c00; stroke-dasharray: 6 3; }
  .vllm { stroke: #0969da; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; }
    .grid { stroke: #3a3f47; }
    .vllm-measured { stroke: #6e7781; }
    .llmservingsim { stroke: #c297ff; }
    .reference { stroke: #f0883e; }
    .vllm { stroke: #58a6ff; }
  }
";

/// The file of a run's figure, and the figure.
pub(super) fn figure(sides: &Sides) -> (String, String) {
    let name = sides.recording.title.to_lowercase().replace(", ", "-").replace([' ', '+'], "-");
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n<title>{0}: share of \
         requests below a latency</title>\n<style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"18\">{0}</text>\n",
        sides.recording.title
    );
    let names = [
        ("vllm-measured", "vLLM, measured"),
        ("llmservingsim", "LLMServingSim"),
        ("reference", "--engine reference"),
        ("vllm", "--engine vllm"),
    ];
    for (index, (class, label)) in names.iter().enumerate() {
        let x = LEFT + 180.0 * index as f64;
        let _ = writeln!(
            svg,
            "<polyline class=\"{class}\" points=\"{x},36 {},36\"/><text x=\"{}\" y=\"40\">{label}</text>",
            x + 26.0,
            x + 32.0
        );
    }
    for (panel, (metric, label)) in
        [("ttft_ms", "TTFT (ms)"), ("tpot_ms", "TPOT (ms)"), ("latency_ms", "latency (s)")].into_iter().enumerate()
    {
        let lines = [
            ("vllm-measured", values(&sides.vllm, metric, "b")),
            ("llmservingsim", values(&sides.llmservingsim, metric, "a")),
            ("reference", values(&sides.reference, metric, "a")),
            ("vllm", values(&sides.vllm, metric, "a")),
        ];
        draw(&mut svg, LEFT + panel as f64 * (PANEL_WIDTH + PANEL_GAP), label, &lines);
    }
    svg += "</svg>\n";
    (format!("{name}.svg"), svg)
}

/// What each request of one side of a comparison took, sorted.
fn values(comparison: &Value, metric: &str, side: &str) -> Vec<f64> {
    let scale = if metric == "latency_ms" { 1e-3 } else { 1.0 };
    let requests = comparison["requests"]["all"].as_array().map_or(&[][..], Vec::as_slice);
    let mut values: Vec<f64> =
        requests.iter().filter_map(|request| request[metric][side].as_f64()).map(|value| value * scale).collect();
    values.sort_by(f64::total_cmp);
    values
}

fn draw(svg: &mut String, left: f64, label: &str, lines: &[(&str, Vec<f64>)]) {
    // The last per cent would leave no room for the others.
    let most = lines.iter().filter_map(|(_, values)| quantile(values, 0.99)).fold(0.0, f64::max).max(1e-9);
    let mark = mark_step(most);
    let right = (most / mark).ceil() * mark;
    let x = |value: f64| left + value.min(right) / right * PANEL_WIDTH;
    let y = |share: f64| BOTTOM - share * (BOTTOM - TOP);
    for step in 0..=4 {
        let (share, at) = (f64::from(step) / 4.0, y(f64::from(step) / 4.0));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>",
            left + PANEL_WIDTH
        );
        let (end, percent) = (left - 5.0, share * 100.0);
        let _ = writeln!(svg, "<text text-anchor=\"end\" x=\"{end}\" y=\"{:.1}\">{percent}</text>", at + 4.0);
    }
    for step in 0..=(right / mark).round() as u32 {
        let value = (f64::from(step) * mark * 1e6).round() / 1e6;
        let at = x(value);
        let _ = writeln!(svg, "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/>");
        let _ = writeln!(svg, "<text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{value}</text>", BOTTOM + 17.0);
    }
    let middle = left + PANEL_WIDTH / 2.0;
    let _ = writeln!(svg, "<text text-anchor=\"middle\" x=\"{middle}\" y=\"{}\">{label}</text>", BOTTOM + 38.0);
    for (class, values) in lines {
        let share = |step: usize| step as f64 / NUM_STEPS as f64;
        let point = |step| Some(format!("{:.1},{:.1}", x(quantile(values, share(step))?), y(share(step))));
        let points: Vec<String> = (0..=NUM_STEPS).filter_map(point).collect();
        let _ = writeln!(svg, "<polyline class=\"{class}\" points=\"{}\"/>", points.join(" "));
    }
}

/// The value below which a share of the sorted `values` lies.
fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let last = values.len().checked_sub(1)?;
    values.get((share * last as f64).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_through_its_quantiles() {
        let mut svg = String::new();
        draw(&mut svg, 0.0, "ms", &[("vllm", (0..=100).map(f64::from).collect())]);
        // The axis ends at 100: every step of a percent is 2.62 wide and 1.82 high.
        assert!(svg.contains("points=\"0.0,242.0 2.6,240.2 "), "{svg}");
        assert!(svg.contains("262.0,60.0\"/>"), "{svg}");
        assert_eq!((quantile(&[], 0.5), quantile(&[1.0, 2.0, 3.0], 0.5)), (None, Some(2.0)));
    }
}
