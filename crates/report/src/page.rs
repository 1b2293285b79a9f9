//! Results as one page of HTML that needs nothing else: no network, no server.
//!
//! The page carries its data as JSON and draws it itself. Charts over time and distributions are drawn by uPlot
//! (`assets/uPlot.LICENSE`), everything else by a few scripts of our own (`assets/*.js`), which read the data described
//! in [`data`]. One run or several are shown: several are laid over each other.

mod data;
mod measured;
mod simulated;

use std::io::{self, Write};

use data::RunData;
use serde::Serialize;

pub use simulated::PageRecorder;

const TEMPLATE: &str = include_str!("../assets/page.html");
const STYLE: &str = concat!(include_str!("../assets/uPlot.min.css"), include_str!("../assets/page.css"));
const CHARTS: &str = include_str!("../assets/uPlot.iife.min.js");
/// They share one scope, and each uses those before it.
const SCRIPTS: [&str; 7] = [
    include_str!("../assets/base.js"),
    include_str!("../assets/summary.js"),
    include_str!("../assets/charts.js"),
    include_str!("../assets/steps.js"),
    include_str!("../assets/waves.js"),
    include_str!("../assets/requests.js"),
    include_str!("../assets/page.js"),
];

/// What a page shows.
#[derive(Debug, Default)]
pub struct Page {
    title: String,
    runs: Vec<PageRun>,
    comparison: Option<String>,
}

/// One run on a page.
#[derive(Debug)]
pub struct PageRun(RunData);

/// What a run was made of and what is to be said of it, beside its results.
#[derive(Clone, Debug, Default)]
pub struct PageText {
    /// Names and values by heading.
    pub configuration: Vec<(String, Vec<(String, String)>)>,
    /// Whole files by name.
    pub files: Vec<(String, String)>,
    /// What is odd about the run, in sentences.
    pub notes: Vec<String>,
    /// What was not modelled, in sentences.
    pub not_modelled: Vec<String>,
    /// The deployment, drawn (SVG).
    pub drawing: Option<String>,
}

#[derive(Serialize)]
struct PageData<'a> {
    title: &'a str,
    percents: Vec<f64>,
    runs: Vec<&'a RunData>,
    comparison: Option<&'a str>,
}

impl Page {
    /// A page with a title and nothing on it.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), ..Self::default() }
    }

    /// Adds a run.
    #[must_use]
    pub fn with(mut self, run: PageRun) -> Self {
        self.runs.push(run);
        self
    }

    /// Adds what a comparison of the first two runs says, as text.
    #[must_use]
    pub fn with_comparison(mut self, text: String) -> Self {
        self.comparison = Some(text);
        self
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let data = PageData {
            title: &self.title,
            percents: metrics::Distribution::percents().collect(),
            runs: self.runs.iter().map(|PageRun(run)| run).collect(),
            comparison: self.comparison.as_deref(),
        };
        let json = serde_json::to_string(&data)?;
        // Within a script element only the beginning of its end, or of a comment, means anything.
        let json = json.replace('<', "\\u003c");
        let scripts = SCRIPTS.concat();
        for (index, part) in TEMPLATE.split("{{").enumerate() {
            let (name, text) = if index == 0 { ("", part) } else { part.split_once("}}").unwrap_or(("", part)) };
            out.write_all(
                match name {
                    "title" => escaped(&self.title).into_bytes(),
                    "style" => STYLE.as_bytes().to_vec(),
                    "data" => json.as_bytes().to_vec(),
                    "charts" => CHARTS.as_bytes().to_vec(),
                    "scripts" => scripts.as_bytes().to_vec(),
                    _ => Vec::new(),
                }
                .as_slice(),
            )?;
            out.write_all(text.as_bytes())?;
        }
        Ok(())
    }
}

/// `text` as HTML has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests;
