//! Reads expert shares: CSV with the header `layer,expert,share` or `layer,expert,count`.
//!
//! A `share` is the probability that a token takes the expert, so those of a layer sum to the experts per token. A
//! `count` is anything in proportion to it. Experts that a layer doesn't list are never taken.

use std::collections::BTreeMap;

use diagnostics::Faults;

use super::shares::Shares;
use super::{FileFaults, MoeShape, lines};

/// Shares may be rounded: how far their sum may be off. Below 1, so that there are always enough experts to choose from.
const SUM_TOLERANCE: f64 = 0.05;

const HEADER_HINT: &str =
    "write `layer,expert,share` or `layer,expert,count` in the first line; a file of choices begins with `{`";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Column {
    Share,
    Count,
}

/// What is known of a layer while its lines are read.
struct Layer<'a> {
    values: Vec<f64>,
    /// By expert, the line that lists it.
    listed_in: Vec<Option<usize>>,
    first_line: (usize, &'a str),
    /// Whether a line of it is faulty, so that sums say nothing.
    faulty: bool,
}

pub(super) fn read(text: &str, shape: &MoeShape, mut faults: FileFaults<'_>) -> Result<Shares, Faults> {
    let mut lines = lines(text);
    let Some(header) = lines.next() else {
        faults.push_whole("the file is empty", HEADER_HINT);
        return Err(faults.into_faults());
    };
    let column = match header.1.split(',').map(str::trim).collect::<Vec<_>>()[..] {
        ["layer", "expert", "share"] => Column::Share,
        ["layer", "expert", "count"] => Column::Count,
        _ => {
            faults.push(header, 0, "expected a header of three columns", HEADER_HINT);
            return Err(faults.into_faults());
        }
    };
    let mut layers: BTreeMap<u32, Layer<'_>> = BTreeMap::new();
    for line in lines {
        read_line(line, column, shape, &mut layers, &mut faults);
    }
    if layers.is_empty() && faults.is_empty() {
        faults.push_whole("no expert is listed", "below the header, write one line for each expert of each layer");
    }
    let mut recorded = vec![None; shape.num_layers as usize];
    for (number, layer) in layers {
        if !layer.faulty {
            recorded[number as usize] = shares_of(number, layer, column, shape, &mut faults);
        }
    }
    faults.into_result(())?;
    Ok(Shares::new(&recorded, shape.experts_per_token))
}

/// Takes in one line. A fault of one field does not hide those of the others.
fn read_line<'a>(
    line: (usize, &'a str),
    column: Column,
    shape: &MoeShape,
    layers: &mut BTreeMap<u32, Layer<'a>>,
    faults: &mut FileFaults<'_>,
) {
    let fields: Vec<&str> = line.1.split(',').collect();
    let &[layer, expert, value] = &fields[..] else {
        let message = format!("expected 3 fields, found {}", fields.len());
        return faults.push(line, 0, message, "");
    };
    let number = read_index(line, layer, "layer", shape.num_layers, faults);
    let expert = read_index(line, expert, "expert", shape.num_experts, faults);
    let value = read_value(line, value, column, faults);
    let Some(number) = number else { return };
    let layer = layers.entry(number).or_insert_with(|| Layer {
        values: vec![0.0; shape.num_experts as usize],
        listed_in: vec![None; shape.num_experts as usize],
        first_line: line,
        faulty: false,
    });
    let (Some(expert), Some(value)) = (expert, value) else {
        layer.faulty = true;
        return;
    };
    if let Some(former) = layer.listed_in[expert as usize].replace(line.0) {
        layer.faulty = true;
        let message = format!("expert {expert} of layer {number} is listed again, after line {former}");
        return faults.push(line, 0, message, "keep one of the lines");
    }
    layer.values[expert as usize] = value;
}

fn read_index(line: (usize, &str), field: &str, what: &str, count: u32, faults: &mut FileFaults<'_>) -> Option<u32> {
    let index = field.trim().parse().ok().filter(|&index| index < count);
    if index.is_none() {
        let message = format!("`{}` is no {what}: expected a whole number from 0 to {}", field.trim(), count - 1);
        faults.push(line, offset_of(line.1, field), message, "");
    }
    index
}

fn read_value(line: (usize, &str), field: &str, column: Column, faults: &mut FileFaults<'_>) -> Option<f64> {
    let (what, most) = match column {
        Column::Share => ("share: expected a number from 0 to 1", 1.0),
        // Far above any count, and far below where sums overflow.
        Column::Count => ("count: expected a number from 0", 1e18),
    };
    let value = field.trim().parse().ok().filter(|value| (0.0..=most).contains(value));
    if value.is_none() {
        faults.push(line, offset_of(line.1, field), format!("`{}` is no {what}", field.trim()), "");
    }
    value
}

/// Where the text of `field`, a part of `line`, begins in it.
fn offset_of(line: &str, field: &str) -> usize {
    field.trim_start().as_ptr() as usize - line.as_ptr() as usize
}

/// The shares of a layer whose lines are all in order, if they can be shares at all.
fn shares_of(
    number: u32,
    layer: Layer<'_>,
    column: Column,
    shape: &MoeShape,
    faults: &mut FileFaults<'_>,
) -> Option<Vec<f64>> {
    let experts_per_token = f64::from(shape.experts_per_token);
    let sum: f64 = layer.values.iter().sum();
    let mut fault = |message, hint| {
        faults.push(layer.first_line, 0, message, hint);
        None
    };
    match column {
        Column::Share if (sum - experts_per_token).abs() <= SUM_TOLERANCE => Some(layer.values),
        Column::Share => fault(
            format!("the shares of layer {number} sum to {sum:.3}, not to {experts_per_token}, the experts of a token"),
            "numbers that are only in proportion to the shares go into a column named `count`",
        ),
        Column::Count if sum == 0.0 => fault(format!("the counts of layer {number} are all 0"), ""),
        Column::Count => {
            let share = |count: f64| count * experts_per_token / sum;
            // A token takes an expert once at most; of exact counts the greatest is the number of tokens.
            match layer.values.iter().position(|&count| share(count) > 1.0 + 1e-9) {
                None => Some(layer.values.into_iter().map(|count| share(count).min(1.0)).collect()),
                Some(expert) => fault(
                    format!(
                        "expert {expert} of layer {number} has more than 1/{experts_per_token} of the counts, \
                         which is more than one for each token"
                    ),
                    "count each of a token's experts, not only the first",
                ),
            }
        }
    }
}
