//! Shapes and words as SVG.

use std::fmt::Write;

/// Rules of the drawing, all of them below its own class.
const STYLE: &str = "\
.servingsim-drawing{--ink:#1b1f24;--faint:#5b6570;--node:#f3f5f8;--card:#ffffff;--line:#c3cad3;--weights:#4a78b5;\
--kv:#3f9b6b;--other:#b98a2f;--free:#dfe3e8;color:var(--ink);font:12px system-ui,-apple-system,'Segoe UI',sans-serif}\n\
@media (prefers-color-scheme:dark){.servingsim-drawing:not(.light){--ink:#e6e9ee;--faint:#9aa5b1;--node:#1a1f26;\
--card:#232a33;--line:#46505c;--weights:#6d9ad6;--kv:#5cc08c;--other:#d9a94c;--free:#38414c}}\n\
.servingsim-drawing.dark{--ink:#e6e9ee;--faint:#9aa5b1;--node:#1a1f26;--card:#232a33;--line:#46505c;--weights:#6d9ad6;\
--kv:#5cc08c;--other:#d9a94c;--free:#38414c}\n\
.servingsim-drawing text{fill:currentColor}.servingsim-drawing .faint{fill:var(--faint)}\
.servingsim-drawing .head{font-weight:600}.servingsim-drawing .small{font-size:10.5px}\n\
.servingsim-drawing .node{fill:var(--node);stroke:var(--line)}.servingsim-drawing .card{fill:var(--card);\
stroke:var(--line)}.servingsim-drawing .npu{fill:none;stroke:var(--line)}\n\
.servingsim-drawing .weights{fill:var(--weights)}.servingsim-drawing .kv{fill:var(--kv)}\
.servingsim-drawing .other{fill:var(--other)}.servingsim-drawing .free{fill:var(--free)}\n\
.servingsim-drawing .link{stroke:var(--faint);stroke-width:1.5;fill:none}.servingsim-drawing .g0{stroke:#d4622a}\
.servingsim-drawing .g1{stroke:#8a5cd1}.servingsim-drawing .g2{stroke:#1f9aa6}.servingsim-drawing .g3{stroke:#c43d78}\
.servingsim-drawing .g4{stroke:#7a8c1e}.servingsim-drawing .g5{stroke:#3a6fd8}";

/// Elements in the order in which they cover each other.
pub(super) struct Canvas {
    width: f64,
    elements: Vec<String>,
}

impl Canvas {
    pub(super) fn new(width: f64) -> Self {
        Self { width, elements: Vec::new() }
    }

    /// A place below everything that is drawn from now on.
    pub(super) fn mark(&self) -> usize {
        self.elements.len()
    }

    /// Puts `other` below everything that was drawn since `mark`.
    pub(super) fn insert(&mut self, mark: usize, other: Canvas) {
        self.elements.splice(mark..mark, other.elements);
    }

    pub(super) fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str) {
        let (x, y, width, height) = (number(x), number(y), number(width.max(0.0)), number(height.max(0.0)));
        let rounded = if matches!(class, "node" | "card" | "npu") { " rx=\"4\"" } else { "" };
        self.elements.push(format!(
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\"{rounded} class=\"{class}\"/>"
        ));
    }

    pub(super) fn line(&mut self, x1: f64, y1: f64, x2: f64, y2: f64, class: &str) {
        let [x1, y1, x2, y2] = [x1, y1, x2, y2].map(number);
        self.elements.push(format!("<line x1=\"{x1}\" y1=\"{y1}\" x2=\"{x2}\" y2=\"{y2}\" class=\"{class}\"/>"));
    }

    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
        self.elements.push(format!("<text x=\"{}\" y=\"{}\"{class}>{}</text>", number(x), number(y), escaped(text)));
    }

    /// Begins what `title` tells of; [`end`](Self::end) must follow.
    pub(super) fn begin(&mut self, title: &str) {
        self.elements.push(format!("<g><title>{}</title>", escaped(title)));
    }

    pub(super) fn end(&mut self) {
        self.elements.push("</g>".to_owned());
    }

    /// The element of this height.
    pub(super) fn finish(self, title: &str, about: &str, height: f64) -> String {
        let (width, height) = (number(self.width), number(height));
        let mut svg = String::new();
        // Writing to a string can't fail.
        let _ = writeln!(
            svg,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"servingsim-drawing\" role=\"img\" \
             viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" style=\"max-width:100%;height:auto\">\n\
             <title>{}</title>\n<desc>{}</desc>\n<style>\n{STYLE}\n</style>",
            escaped(title),
            escaped(about)
        );
        for element in &self.elements {
            let _ = writeln!(svg, "{element}");
        }
        svg + "</svg>\n"
    }
}

/// A number with one digit after the point at the most.
fn number(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// `text` as XML has it. Characters that XML has no way to write are left out.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => {}
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_users_can_hold_anything() {
        assert_eq!(escaped("a<b>&\"c\"\u{1}\n"), "a&lt;b&gt;&amp;&quot;c&quot; ");
        assert_eq!([1.0, 2.25, -0.04].map(number), ["1", "2.2", "-0"]);
    }
}
