//! Cells as text.
//!
//! Whole numbers are written in decimal, and so are reals that are whole: a column of whole numbers in which some are
//! missing is one of reals where pandas wrote it. Other reals are written with as many digits as it takes to tell them
//! from their neighbours.

use std::fmt::Display;
use std::io::Write;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, BooleanArray, ListArray, PrimitiveArray, StringArray, StructArray};
use arrow_schema::DataType;

/// Reals above are not written as whole numbers: not all of those have one of their own.
const WHOLE_REAL_MAX: f64 = (1u64 << 53) as f64;

/// What a column holds, as far as its cells can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Whole,
    Real,
    Text,
    List,
    Struct,
    /// Nothing that is read: a date, say.
    Other,
}

/// The cells of one column in a batch.
pub(crate) struct Column {
    /// Its name as the key of a JSON object, with the colon.
    key: Vec<u8>,
    cells: Box<dyn Cells>,
}

/// Cells that can be written.
trait Cells: Send {
    fn is_null(&self, row: usize) -> bool;

    /// Writes a cell that is not null as JSON.
    fn write(&self, row: usize, out: &mut Vec<u8>);

    /// The text in a cell of texts.
    fn text(&self, _row: usize) -> Option<&str> {
        None
    }
}

impl Kind {
    pub(crate) fn of(data_type: &DataType) -> Self {
        match data_type {
            data_type if data_type.is_integer() => Kind::Whole,
            DataType::Float32 | DataType::Float64 => Kind::Real,
            DataType::Utf8 => Kind::Text,
            DataType::List(_) => Kind::List,
            DataType::Struct(_) => Kind::Struct,
            _ => Kind::Other,
        }
    }
}

impl Column {
    pub(crate) fn new(name: &str, array: &dyn Array) -> Self {
        let mut key = Vec::new();
        write_json_text(name, &mut key);
        key.extend_from_slice(b": ");
        Self { key, cells: cells(array) }
    }

    /// Whether the cell is empty.
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.cells.is_null(row)
    }

    /// Writes the cell as JSON.
    pub(crate) fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_or_null(self.cells.as_ref(), row, out);
    }

    /// The cell, of a column of texts.
    pub(crate) fn text(&self, row: usize) -> Option<&str> {
        self.cells.text(row)
    }
}

fn cells(array: &dyn Array) -> Box<dyn Cells> {
    match array.data_type() {
        DataType::Int8 => whole::<Int8Type>(array),
        DataType::Int16 => whole::<Int16Type>(array),
        DataType::Int32 => whole::<Int32Type>(array),
        DataType::Int64 => whole::<Int64Type>(array),
        DataType::UInt8 => whole::<UInt8Type>(array),
        DataType::UInt16 => whole::<UInt16Type>(array),
        DataType::UInt32 => whole::<UInt32Type>(array),
        DataType::UInt64 => whole::<UInt64Type>(array),
        DataType::Float32 => Box::new(Reals(array.as_primitive::<Float32Type>().clone())),
        DataType::Float64 => Box::new(Reals(array.as_primitive::<Float64Type>().clone())),
        DataType::Boolean => Box::new(Booleans(array.as_boolean().clone())),
        DataType::Utf8 => Box::new(Texts(array.as_string::<i32>().clone())),
        DataType::List(_) => {
            let lists = array.as_list::<i32>();
            Box::new(Lists { elements: cells(lists.values().as_ref()), lists: lists.clone() })
        }
        DataType::Struct(fields) => {
            let structs = array.as_struct();
            let parts = fields.iter().zip(structs.columns());
            let parts = parts.map(|(field, part)| Column::new(field.name(), part.as_ref())).collect();
            Box::new(Structs { structs: structs.clone(), parts })
        }
        other => Box::new(Unreadable(other.to_string())),
    }
}

fn whole<T: ArrowPrimitiveType<Native: itoa::Integer>>(array: &dyn Array) -> Box<dyn Cells> {
    Box::new(Wholes(array.as_primitive::<T>().clone()))
}

fn write_or_null(cells: &dyn Cells, row: usize, out: &mut Vec<u8>) {
    if cells.is_null(row) { out.extend_from_slice(b"null") } else { cells.write(row, out) }
}

struct Wholes<T: ArrowPrimitiveType>(PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: itoa::Integer>> Cells for Wholes<T> {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(itoa::Buffer::new().format(self.0.value(row)).as_bytes());
    }
}

struct Reals<T: ArrowPrimitiveType>(PrimitiveArray<T>);

impl<T: ArrowPrimitiveType<Native: Into<f64> + Display>> Cells for Reals<T> {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let real = self.0.value(row);
        let wide: f64 = real.into();
        if wide.fract() == 0.0 && wide.abs() <= WHOLE_REAL_MAX {
            out.extend_from_slice(itoa::Buffer::new().format(wide as i64).as_bytes());
        } else {
            write!(out, "{real}").expect("memory takes everything");
        }
    }
}

struct Booleans(BooleanArray);

impl Cells for Booleans {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(if self.0.value(row) { b"true" } else { b"false" });
    }
}

struct Texts(StringArray);

impl Cells for Texts {
    fn is_null(&self, row: usize) -> bool {
        self.0.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_json_text(self.0.value(row), out);
    }

    fn text(&self, row: usize) -> Option<&str> {
        self.0.is_valid(row).then(|| self.0.value(row))
    }
}

struct Lists {
    lists: ListArray,
    elements: Box<dyn Cells>,
}

impl Cells for Lists {
    fn is_null(&self, row: usize) -> bool {
        self.lists.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        let ends = self.lists.value_offsets();
        out.push(b'[');
        for element in ends[row]..ends[row + 1] {
            if element != ends[row] {
                out.extend_from_slice(b", ");
            }
            write_or_null(self.elements.as_ref(), element as usize, out);
        }
        out.push(b']');
    }
}

struct Structs {
    structs: StructArray,
    parts: Vec<Column>,
}

impl Cells for Structs {
    fn is_null(&self, row: usize) -> bool {
        self.structs.is_null(row)
    }

    fn write(&self, row: usize, out: &mut Vec<u8>) {
        write_object(&self.parts, row, out);
    }
}

/// Cells of a type that nobody asks for.
struct Unreadable(String);

impl Cells for Unreadable {
    fn is_null(&self, _row: usize) -> bool {
        false
    }

    fn write(&self, _row: usize, out: &mut Vec<u8>) {
        write_json_text(&self.0, out);
    }
}

/// Writes a row of `columns` as a JSON object, without what is null.
pub(crate) fn write_object(columns: &[Column], row: usize, out: &mut Vec<u8>) {
    out.push(b'{');
    let start = out.len();
    for column in columns.iter().filter(|column| !column.is_null(row)) {
        if out.len() > start {
            out.extend_from_slice(b", ");
        }
        out.extend_from_slice(&column.key);
        column.write(row, out);
    }
    out.push(b'}');
}

fn write_json_text(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for character in text.chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            control if control < ' ' => {
                write!(out, "\\u{:04x}", control as u32).expect("memory takes everything");
            }
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}
