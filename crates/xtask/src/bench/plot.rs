//! Line plots as SVG, readable on light and on dark ground.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::rows::{grouped, number};

/// One line.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

/// Lines over a logarithmic axis, from zero up.
pub(crate) struct Plot {
    /// The file's name, without `.svg`.
    file: &'static str,
    title: String,
    x_label: &'static str,
    y_label: &'static str,
    series: Vec<Series>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
/// Of the part within the axes.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 262.0;

/// Steps between marks of the upright axis, about.
const NUM_MARKS: f64 = 4.0;

const STYLE: &str = "
  text { font: 12px sans-serif; fill: #333; }
  .title { font-size: 14px; font-weight: bold; }
  .grid { stroke: #ccc; }
  .axis { stroke: #333; }
  .s0 { stroke: #0969da; fill: #0969da; }
  .s1 { stroke: #bc4c00; fill: #bc4c00; }
  polyline { stroke-width: 2; fill: none !important; }
  .s1 polyline { stroke-dasharray: 6 3; }
  @media (prefers-color-scheme: dark) {
    text { fill: #ddd; }
    .grid { stroke: #444; }
    .axis { stroke: #ddd; }
    .s0 { stroke: #58a6ff; fill: #58a6ff; }
    .s1 { stroke: #f0883e; fill: #f0883e; }
  }
";

impl Plot {
    pub(crate) fn new(
        file: &'static str,
        title: String,
        x_label: &'static str,
        y_label: &'static str,
        series: Vec<Series>,
    ) -> Self {
        Self { file, title, x_label, y_label, series }
    }

    /// Writes it into `folder`.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), String> {
        let path = folder.join(format!("{}.svg", self.file));
        fs::write(&path, self.svg()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// The image, and its numbers for those who don't see it.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("![{}](performance/{}.svg)\n\n", self.title, self.file);
        for series in &self.series {
            let points = series.points.iter().map(|&(x, y)| format!("{} at {x}", number(y)));
            let points: Vec<String> = points.collect();
            let _ = writeln!(text, "`{}`, {} by {}: {}.", series.name, self.y_label, self.x_label, points.join(", "));
        }
        text
    }

    fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let xs = || points().map(|point| point.0);
        let (least, most) = (xs().fold(f64::INFINITY, f64::min), xs().fold(0.0, f64::max));
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        let mark = mark_step(highest);
        let top = (highest / mark).ceil() * mark;
        let x = |value: f64| LEFT + 16.0 + (value / least).ln() / (most / least).ln().max(1e-9) * (RIGHT - LEFT - 32.0);
        let y = |value: f64| BOTTOM - value / top * (BOTTOM - TOP);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\">\n\
             <title>{0}</title>\n<style>{STYLE}</style>\n<text class=\"title\" x=\"{LEFT}\" y=\"20\">{0}</text>\n",
            self.title
        );
        self.frame(&mut svg, &x, &y, mark, top);
        for (index, Series { name, points }) in self.series.iter().enumerate() {
            let line: Vec<String> = points.iter().map(|&(a, b)| format!("{:.1},{:.1}", x(a), y(b))).collect();
            let _ = writeln!(svg, "<g class=\"s{index}\"><polyline points=\"{}\"/>", line.join(" "));
            for &(a, b) in points {
                let _ = writeln!(svg, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>", x(a), y(b));
            }
            let left = LEFT + 200.0 * index as f64;
            let _ = writeln!(svg, "<polyline points=\"{left},38 {},38\"/></g>", left + 24.0);
            let _ = writeln!(svg, "<text x=\"{}\" y=\"42\">{name}</text>", left + 30.0);
        }
        svg + "</svg>\n"
    }

    /// Axes, their marks and their names.
    fn frame(&self, svg: &mut String, x: &dyn Fn(f64) -> f64, y: &dyn Fn(f64) -> f64, mark: f64, top: f64) {
        for step in 0..=(top / mark).round() as u32 {
            let value = f64::from(step) * mark;
            let at = y(value);
            // A tenth three times is not quite three tenths.
            let value = (value * 1e6).round() / 1e6;
            let _ = writeln!(svg, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>");
            let _ =
                writeln!(svg, "<text text-anchor=\"end\" x=\"{}\" y=\"{:.1}\">{value}</text>", LEFT - 6.0, at + 4.0);
        }
        let mut values: Vec<f64> = self.series.iter().flat_map(|series| &series.points).map(|point| point.0).collect();
        values.sort_by(f64::total_cmp);
        values.dedup();
        for value in values {
            let at = x(value);
            let _ = writeln!(
                svg,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{BOTTOM}\" y2=\"{}\"/>",
                BOTTOM + 4.0
            );
            let label = grouped(value);
            let _ = writeln!(svg, "<text text-anchor=\"middle\" x=\"{at:.1}\" y=\"{}\">{label}</text>", BOTTOM + 18.0);
        }
        let middle = (LEFT + RIGHT) / 2.0;
        let _ = writeln!(svg, "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{BOTTOM}\" y2=\"{BOTTOM}\"/>");
        let _ = writeln!(
            svg,
            "<text text-anchor=\"middle\" x=\"{middle}\" y=\"{}\">{}</text>",
            BOTTOM + 40.0,
            self.x_label
        );
        let height = (TOP + BOTTOM) / 2.0;
        let _ = writeln!(
            svg,
            "<text text-anchor=\"middle\" transform=\"translate(16 {height}) rotate(-90)\">{}</text>",
            self.y_label
        );
    }
}

/// 1, 2 or 5 times a power of ten, so that there are about as many marks up to `highest` as there should be.
pub(crate) fn mark_step(highest: f64) -> f64 {
    let rough = highest.max(1e-9) / NUM_MARKS;
    let power = 10_f64.powf(rough.log10().floor());
    [1.0, 2.0, 5.0, 10.0].map(|step| step * power).into_iter().find(|&step| step >= rough).unwrap_or(rough)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round() {
        assert_eq!([3.9, 17.0, 40.0].map(mark_step), [1.0, 5.0, 10.0]);
    }

    #[test]
    fn points_lie_within_the_axes() {
        let series = vec![Series { name: "a".to_owned(), points: vec![(1.0, 2.0), (100.0, 4.0)] }];
        let svg = Plot::new("file", "title".to_owned(), "x", "y", series).svg();
        assert!(svg.contains("80.0,163.0 604.0,64.0"), "{svg}");
    }
}
