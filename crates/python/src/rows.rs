//! Tables of requests to the lines of a workload file.
//!
//! What requests may hold is checked in one place, where the lines of a file are (crate `workload`). So rows become
//! lines: a column is a key, a null leaves it out, a struct is an object, and whole numbers are written as such whatever
//! type they come in.

use std::fmt::Write;

use arrow_array::cast::AsArray;
use arrow_array::ffi_stream::RecordBatchStreamReader;
use arrow_array::types::{
    ArrowPrimitiveType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use arrow_array::{Array, RecordBatchReader};
use arrow_pyarrow::PyArrowType;
use arrow_schema::{DataType, SchemaRef};
use diagnostics::{Fault, Faults};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use crate::faults::{Origins, REQUESTS, input_error};

/// The rows of a table that speaks Arrow (`__arrow_c_stream__`), one JSON object a line.
#[pyfunction]
pub(crate) fn json_lines(py: Python<'_>, table: PyArrowType<RecordBatchStreamReader>) -> PyResult<String> {
    let reader = table.0;
    check(&reader.schema()).map_err(|faults| input_error(py, &faults, Origins::default()))?;
    let mut text = String::new();
    for batch in reader {
        let batch = batch.map_err(|error| PyValueError::new_err(error.to_string()))?;
        let names: Vec<String> = batch.schema().fields().iter().map(|field| quoted(field.name())).collect();
        for row in 0..batch.num_rows() {
            write_object(&names, batch.columns(), row, &mut text);
            text.push('\n');
        }
    }
    Ok(text)
}

/// Columns whose types have no form in a workload.
fn check(schema: &SchemaRef) -> Result<(), Faults> {
    let mut faults = Faults::new();
    for field in schema.fields() {
        if let Some(unknown) = unknown(field.data_type()) {
            let fault = Fault::new(REQUESTS, format!("a column of type {unknown}")).path(field.name().as_str());
            faults.push(fault.hint("tokens and nanoseconds are whole numbers, token ids lists of them"));
        }
    }
    faults.into_result(())
}

/// The type in `data_type` that can't be written.
fn unknown(data_type: &DataType) -> Option<&DataType> {
    match data_type {
        DataType::Null | DataType::Boolean => None,
        DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Int64 => None,
        DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => None,
        DataType::Float32 | DataType::Float64 => None,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => None,
        DataType::List(items) | DataType::LargeList(items) => unknown(items.data_type()),
        DataType::FixedSizeList(items, _) => unknown(items.data_type()),
        DataType::Struct(fields) => fields.iter().find_map(|field| unknown(field.data_type())),
        DataType::Dictionary(_, values) => unknown(values),
        other => Some(other),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn write_object(names: &[String], columns: &[arrow_array::ArrayRef], row: usize, text: &mut String) {
    text.push('{');
    let mut separator = "";
    for (name, column) in names.iter().zip(columns).filter(|(_, column)| !is_null(column, row)) {
        text.push_str(separator);
        separator = ",";
        text.push_str(name);
        text.push(':');
        write_value(column, row, text);
    }
    text.push('}');
}

fn is_null(array: &dyn Array, index: usize) -> bool {
    array.data_type() == &DataType::Null || array.is_null(index)
}

fn write_value(array: &dyn Array, index: usize, text: &mut String) {
    if is_null(array, index) {
        return text.push_str("null");
    }
    match array.data_type() {
        DataType::Boolean => text.push_str(if array.as_boolean().value(index) { "true" } else { "false" }),
        DataType::Int8 => write_number::<Int8Type>(array, index, text),
        DataType::Int16 => write_number::<Int16Type>(array, index, text),
        DataType::Int32 => write_number::<Int32Type>(array, index, text),
        DataType::Int64 => write_number::<Int64Type>(array, index, text),
        DataType::UInt8 => write_number::<UInt8Type>(array, index, text),
        DataType::UInt16 => write_number::<UInt16Type>(array, index, text),
        DataType::UInt32 => write_number::<UInt32Type>(array, index, text),
        DataType::UInt64 => write_number::<UInt64Type>(array, index, text),
        // Rust writes floats in full, and whole ones without a point.
        DataType::Float32 => write_number::<Float32Type>(array, index, text),
        DataType::Float64 => write_number::<Float64Type>(array, index, text),
        DataType::Utf8 => text.push_str(&quoted(array.as_string::<i32>().value(index))),
        DataType::LargeUtf8 => text.push_str(&quoted(array.as_string::<i64>().value(index))),
        DataType::Utf8View => text.push_str(&quoted(array.as_string_view().value(index))),
        DataType::List(_) => write_list(&array.as_list::<i32>().value(index), text),
        DataType::LargeList(_) => write_list(&array.as_list::<i64>().value(index), text),
        DataType::FixedSizeList(_, _) => write_list(&array.as_fixed_size_list().value(index), text),
        DataType::Struct(fields) => {
            let names: Vec<String> = fields.iter().map(|field| quoted(field.name())).collect();
            write_object(&names, array.as_struct().columns(), index, text);
        }
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            write_value(dictionary.values(), dictionary.normalized_keys()[index], text);
        }
        other => unreachable!("{other} was refused"),
    }
}

fn write_number<T: ArrowPrimitiveType<Native: std::fmt::Display>>(array: &dyn Array, index: usize, text: &mut String) {
    let number = array.as_primitive::<T>().value(index);
    write!(text, "{number}").expect("strings take all that is written to them");
}

fn write_list(items: &dyn Array, text: &mut String) {
    text.push('[');
    for index in 0..items.len() {
        if index > 0 {
            text.push(',');
        }
        write_value(items, index, text);
    }
    text.push(']');
}
