//! Traces that are tables: CSV with a header, a request a row.

use csv::{ByteRecord, Reader, ReaderBuilder, Trim};
use diagnostics::{Fault, Position};
use documents::suggest;
use engine::Call;

use super::{Format, Input, Source, decimal};
use crate::fault_log::{FaultLog, shown};
use crate::item::Item;
use crate::spec::TOKENS_MAX;

/// Which columns of a format say what.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) format: Format,
    arrival: &'static str,
    /// How arrivals are written.
    time: Time,
    input: &'static str,
    output: &'static str,
    /// How many times the request arrives at once, where there is such a column.
    copies: Option<&'static str>,
    /// Columns whose absence from a workload needs no telling.
    unneeded: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum Time {
    Date,
    Seconds,
}

pub(crate) const LAYOUTS: [Layout; 4] = [
    Layout {
        format: Format::Azure,
        arrival: "TIMESTAMP",
        time: Time::Date,
        input: "ContextTokens",
        output: "GeneratedTokens",
        copies: None,
        unneeded: &[],
    },
    Layout {
        format: Format::BurstGpt,
        arrival: "Timestamp",
        time: Time::Seconds,
        input: "Request tokens",
        output: "Response tokens",
        copies: None,
        unneeded: &["Total tokens", "Model", "Log Type"],
    },
    Layout {
        format: Format::Splitwise,
        arrival: "arrival_timestamp",
        time: Time::Seconds,
        input: "prompt_size",
        output: "token_size",
        copies: Some("batch_size"),
        unneeded: &["request_id", "request_type", "application_id"],
    },
    Layout {
        format: Format::Vidur,
        arrival: "arrived_at",
        time: Time::Seconds,
        input: "num_prefill_tokens",
        output: "num_decode_tokens",
        copies: None,
        unneeded: &[],
    },
];

impl Layout {
    /// Of a format that is a table.
    pub(crate) fn of(format: Format) -> &'static Layout {
        LAYOUTS.iter().find(|layout| layout.format == format).expect("the format is a table")
    }

    /// The columns that must be there.
    pub(crate) fn required(&self) -> Vec<&'static str> {
        vec![self.arrival, self.input, self.output]
    }
}

/// The rows of a table with a header.
#[derive(Debug)]
struct Table {
    rows: Reader<Input>,
    header: Vec<String>,
    row: ByteRecord,
}

impl Table {
    /// Reads the header of `input`; `None` when there is none, which is told then.
    fn new(name: &str, input: Input, faults: &mut FaultLog) -> Option<Self> {
        let mut rows = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(input);
        let mut row = ByteRecord::new();
        match rows.read_byte_record(&mut row) {
            Ok(true) => {}
            Ok(false) => {
                faults.whole("the file is empty");
                return None;
            }
            Err(error) => {
                faults.push(Fault::new(name, format!("can't be read: {error}")));
                return None;
            }
        }
        let header = row.iter().map(|field| String::from_utf8_lossy(field).into_owned()).collect();
        Some(Self { rows, header, row })
    }

    /// Which column `name` is; where there is none, that is told.
    fn column(&self, name: &str, faults: &mut FaultLog) -> Option<usize> {
        let found = self.header.iter().position(|column| column == name);
        if found.is_none() {
            let columns: Vec<&str> = self.header.iter().map(String::as_str).collect();
            let message = format!("there is no column `{name}` among {}", suggest::listed(&columns));
            faults.at(Position { line: 1, column: 1 }, "", message);
        }
        found
    }

    /// The next row with as many fields as the header; `false` at the end.
    fn next(&mut self, faults: &mut FaultLog) -> bool {
        loop {
            match self.rows.read_byte_record(&mut self.row) {
                Ok(true) if self.row.len() == self.header.len() => return true,
                Ok(true) => {
                    let (found, expected) = (self.row.len(), self.header.len());
                    let message = format!("the row has {found} fields where the header has {expected}");
                    faults.at(Position { line: self.line(), column: 1 }, "", message);
                }
                Ok(false) => return false,
                Err(error) => {
                    faults.whole(format!("can't be read: {error}"));
                    return false;
                }
            }
        }
    }

    fn line(&self) -> usize {
        self.row.position().map_or(0, |position| position.line() as usize)
    }

    fn field(&self, column: usize) -> &str {
        std::str::from_utf8(&self.row[column]).unwrap_or("\u{fffd}")
    }

    /// What `read` makes of a field; where that is nothing, that it is not what is `wanted`.
    fn read<T>(
        &self,
        column: usize,
        wanted: &str,
        faults: &mut FaultLog,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.field(column);
        let value = read(text);
        if value.is_none() {
            let before: usize =
                self.row.iter().take(column).map(|field| String::from_utf8_lossy(field).chars().count() + 1).sum();
            let position = Position { line: self.line(), column: 1 + before };
            faults.at(position, &self.header[column], format!("expected {wanted}, found {}", shown(text)));
        }
        value
    }
}

/// A count from `least`; Python may have written `374.0`.
fn tokens(text: &str, least: u64) -> Option<u64> {
    let whole = text.strip_suffix(".0").unwrap_or(text);
    whole.parse().ok().filter(|tokens| (least..=TOKENS_MAX).contains(tokens))
}

/// The requests of a trace in one of [`LAYOUTS`].
#[derive(Debug)]
pub(super) struct Requests(Option<Open>);

#[derive(Debug)]
struct Open {
    table: Table,
    layout: &'static Layout,
    arrival: usize,
    input: usize,
    output: usize,
    copies: Option<usize>,
    /// What is still to be given out of the last row.
    pending: Option<(Item, u64)>,
    /// Rows without input or output tokens, and the line of the first.
    num_failed: u64,
    first_failed: usize,
}

impl Requests {
    pub(super) fn new(name: &str, input: Input, layout: &'static Layout, faults: &mut FaultLog) -> Self {
        let Some(table) = Table::new(name, input, faults) else { return Self(None) };
        let columns = [layout.arrival, layout.input, layout.output].map(|column| table.column(column, faults));
        let [Some(arrival), Some(input), Some(output)] = columns else { return Self(None) };
        let copies = layout.copies.and_then(|copies| table.header.iter().position(|column| column == copies));
        let (pending, num_failed, first_failed) = (None, 0, 0);
        Self(Some(Open { table, layout, arrival, input, output, copies, pending, num_failed, first_failed }))
    }
}

impl Open {
    /// The item of the current row and how often it comes; `None` if it is at fault or left out.
    fn item(&mut self, faults: &mut FaultLog) -> Option<(Item, u64)> {
        let table = &self.table;
        let arrival_ns = match self.layout.time {
            Time::Date => {
                let wanted = "a date and time such as `2023-11-16 18:17:03.97`";
                table.read(self.arrival, wanted, faults, decimal::date_ns)
            }
            Time::Seconds => table.read(self.arrival, "seconds from 0", faults, |text| decimal::scaled(text, 9)),
        };
        let wanted = format!("a number of tokens from 0 to {TOKENS_MAX}");
        let input_tokens = table.read(self.input, &wanted, faults, |text| tokens(text, 0));
        let output_tokens = table.read(self.output, &wanted, faults, |text| tokens(text, 0));
        let copies = match self.copies {
            Some(copies) => table.read(copies, "a number of requests from 1", faults, |text| tokens(text, 1)),
            None => Some(1),
        };
        let (input_tokens, output_tokens) = (input_tokens?, output_tokens?);
        if input_tokens == 0 || output_tokens == 0 {
            if self.num_failed == 0 {
                self.first_failed = table.line();
            }
            self.num_failed += 1;
            return None;
        }
        let call = Call { input_tokens, output_tokens, ..Call::default() };
        Some((Item::plain(Some(arrival_ns?), call), copies?))
    }
}

impl Source for Requests {
    fn next(&mut self, faults: &mut FaultLog) -> Option<Item> {
        let open = self.0.as_mut()?;
        loop {
            if let Some((item, copies)) = open.pending.take() {
                if copies > 1 {
                    open.pending = Some((item.clone(), copies - 1));
                }
                return Some(item);
            }
            if !open.table.next(faults) {
                return None;
            }
            open.pending = open.item(faults);
        }
    }

    fn notes(&self) -> Vec<String> {
        let Some(open) = &self.0 else { return Vec::new() };
        let mut notes = Vec::new();
        if open.num_failed > 0 {
            let requests = if open.num_failed == 1 { "request" } else { "requests" };
            notes.push(format!(
                "{} {requests} without input or output tokens, which failed, left out; the first is in line {}",
                open.num_failed, open.first_failed
            ));
        }
        let layout = open.layout;
        let is_read = |column: &&str| {
            layout.required().contains(column) || layout.copies == Some(*column) || layout.unneeded.contains(column)
        };
        let unread: Vec<&str> =
            open.table.header.iter().map(String::as_str).filter(|column| !is_read(column)).collect();
        if !unread.is_empty() {
            notes.push(format!("{} not read", suggest::listed(&unread)));
        }
        notes
    }
}

/// One column of a table, as numbers.
#[derive(Debug)]
pub(crate) struct Values(Option<(Table, usize)>);

impl Values {
    /// Of the column `name`; where there is none, that is told.
    pub(crate) fn new(file: &str, input: Input, name: &str, faults: &mut FaultLog) -> Self {
        let table = Table::new(file, input, faults);
        Self(table.and_then(|table| table.column(name, faults).map(|column| (table, column))))
    }

    /// The next number of tokens.
    pub(crate) fn next_tokens(&mut self, faults: &mut FaultLog) -> Option<u64> {
        let wanted = format!("a number of tokens from 1 to {TOKENS_MAX}");
        self.next(&wanted, faults, |text| tokens(text, 1))
    }

    /// The next time in nanoseconds; a unit is ten to the `power` of them, unless the column holds dates.
    pub(crate) fn next_ns(&mut self, power: u32, faults: &mut FaultLog) -> Option<u64> {
        self.next("a time from 0, or a date", faults, |text| {
            decimal::scaled(text, power).or_else(|| decimal::date_ns(text))
        })
    }

    fn next<T>(&mut self, wanted: &str, faults: &mut FaultLog, read: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (table, column) = self.0.as_mut()?;
        while table.next(faults) {
            if let Some(value) = table.read(*column, wanted, faults, &read) {
                return Some(value);
            }
        }
        None
    }
}
