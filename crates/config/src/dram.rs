//! DRAM parameters of a memory type: `<name>.ini`, in the dialect of DRAMsim3.
//!
//! Lines are `key = value`; `#` begins a comment, `;` at the start of a line too, and sections don't matter. Of the
//! many keys of such a file only those that bandwidth, capacity, latency and power follow from are read.

use diagnostics::{Fault, Faults, Position};
use documents::{Bounds, Document};

/// Any parameter; keeps what follows from them finite.
const BOUNDS: Bounds = Bounds::From { least: 1e-6, most: 1e9 };

/// DRAM parameters of a memory type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Dram {
    pub(crate) bankgroups: f64,
    pub(crate) banks_per_group: f64,
    /// Rows of a bank.
    pub(crate) rows: f64,
    /// Columns of a row.
    pub(crate) columns: f64,
    /// Data width of one device.
    pub(crate) device_bits: f64,
    /// Data width of one channel.
    pub(crate) bus_bits: f64,
    /// Capacity of one channel.
    pub(crate) channel_mib: f64,
    /// Transfers on each wire.
    pub(crate) megatransfers_per_s: f64,
    /// Clocks from a column command to its data.
    pub(crate) column_clocks: f64,
    /// Period of the clock.
    pub(crate) clock_ns: f64,
    /// What one channel draws at rest.
    pub(crate) idle_mw: f64,
    /// What one channel draws at work.
    pub(crate) peak_mw: f64,
}

impl Dram {
    /// The parameters in an `.ini` file.
    ///
    /// # Errors
    /// Every key that is missing or no number within bounds.
    pub(crate) fn parse(document: &Document) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let mut read = |key: &str| number(document, key).map_err(|fault| faults.push(fault)).unwrap_or(1.0);
        let dram = Self {
            bankgroups: read("bankgroups"),
            banks_per_group: read("banks_per_group"),
            rows: read("rows"),
            columns: read("columns"),
            device_bits: read("device_width"),
            bus_bits: read("bus_width"),
            channel_mib: read("channel_size"),
            megatransfers_per_s: read("data_rate"),
            column_clocks: read("CL"),
            clock_ns: read("tCK"),
            idle_mw: read("idle_power"),
            peak_mw: read("peak_power"),
        };
        faults.into_result(dram)
    }
}

/// The number under `key`; the last one counts.
fn number(document: &Document, key: &str) -> Result<f64, Fault> {
    let fault = |message: String| Fault::new(document.name.as_str(), message);
    let lines = document.text.lines().enumerate();
    let entry = |(index, line): (usize, &str)| {
        let line = line.split('#').next().unwrap_or_default();
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then(|| (index + 1, value.trim().to_owned()))
    };
    let Some((line, value)) = lines.filter_map(entry).last() else { return Err(fault(format!("missing key `{key}`"))) };
    match value.parse() {
        Ok(number) if BOUNDS.contain(number) => Ok(number),
        _ => {
            Err(fault(format!("`{key}`: expected a number {BOUNDS}, found {value:?}")).at(Position { line, column: 1 }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# a memory\n[dram_structure]\nbankgroups = 2 # two\nbanks_per_group = 4\nrows=65536\n\
        columns = 1024\ndevice_width = 16\n[timing]\ntCK = 0.63\nCL = 22\n[system]\nchannel_size = 8192\n\
        bus_width = 64\n; CL = 99\n[other]\ndata_rate = 3200 # MT/s\nidle_power = 623\npeak_power = 3803";

    fn parse(text: String) -> Result<Dram, Faults> {
        Dram::parse(&Document { name: "own.ini".to_owned(), text })
    }

    #[test]
    fn files() {
        let dram = parse(FILE.to_owned()).unwrap();
        assert_eq!((dram.bankgroups, dram.clock_ns, dram.column_clocks, dram.peak_mw), (2.0, 0.63, 22.0, 3803.0));
        let check = |from: &str, to: &str, expected: &str| {
            assert_eq!(parse(FILE.replace(from, to)).unwrap_err().to_string(), expected);
        };
        check("CL = 22", "CWL = 16", "error: own.ini: missing key `CL`");
        let bounds = "expected a number from 0.000001 to 1000000000";
        check("rows=65536", "rows=many", &format!("error: own.ini:5:1: `rows`: {bounds}, found \"many\""));
        check("rows=65536", "rows=0", &format!("error: own.ini:5:1: `rows`: {bounds}, found \"0\""));
    }
}
