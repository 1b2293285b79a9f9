//! Tables of results, as every library of tables can take them: the Arrow PyCapsule interface.

use arrow_array::cast::AsArray;
use arrow_array::ffi::FFI_ArrowSchema;
use arrow_array::ffi_stream::FFI_ArrowArrayStream;
use arrow_array::types::{Float64Type, Int32Type, Int64Type};
use arrow_array::{Array, RecordBatch, RecordBatchIterator};
use arrow_schema::{DataType, SchemaRef};
use pyo3::exceptions::{PyKeyError, PyRuntimeError};
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict, PyList};

/// Rows with a type a column, as Arrow record batches. Libraries that speak Arrow take them without copying them.
#[pyclass(frozen, module = "servingsim")]
pub(crate) struct Table {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
}

impl Table {
    pub(crate) fn new(schema: SchemaRef, batches: Vec<RecordBatch>) -> Self {
        Self { schema, batches }
    }
}

#[pymethods]
impl Table {
    /// The rows, as an `ArrowArrayStream` in a capsule. Another schema can't be asked for.
    #[pyo3(signature = (requested_schema=None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        // By the interface a request is a wish, and what can't follow it gives what it has.
        drop(requested_schema);
        let batches: Vec<_> = self.batches.iter().cloned().map(Ok).collect();
        let reader = RecordBatchIterator::new(batches, self.schema.clone());
        PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(Box::new(reader)), c"arrow_array_stream")
    }

    /// The columns, as an `ArrowSchema` in a capsule.
    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        let schema = FFI_ArrowSchema::try_from(self.schema.as_ref());
        let schema = schema.map_err(|error| PyRuntimeError::new_err(error.to_string()))?;
        PyCapsule::new_with_value(py, schema, c"arrow_schema")
    }

    /// Rows.
    fn __len__(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// The names of the columns, in order.
    #[getter]
    fn column_names(&self) -> Vec<&str> {
        self.schema.fields().iter().map(|field| field.name().as_str()).collect()
    }

    /// A column as a list. A value that is not there is `None`.
    fn column<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyList>> {
        let Ok(index) = self.schema.index_of(name) else {
            let hint = documents::suggest::hint(name, &self.column_names());
            return Err(PyKeyError::new_err(format!("no column is called {name}; {hint}")));
        };
        let list = PyList::empty(py);
        for batch in &self.batches {
            push(batch.column(index), &list)?;
        }
        Ok(list)
    }

    /// All columns as lists, by name.
    fn to_pydict<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let columns = PyDict::new(py);
        for name in self.column_names() {
            columns.set_item(name, self.column(py, name)?)?;
        }
        Ok(columns)
    }

    /// As a Polars data frame, which must be installed.
    fn to_polars<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("polars")?.getattr("DataFrame")?.call1((slf,))
    }

    /// As a pandas data frame, for which pandas and pyarrow must be installed.
    fn to_pandas<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        slf.py().import("pyarrow")?.getattr("table")?.call1((slf,))?.call_method0("to_pandas")
    }

    fn __repr__(&self) -> String {
        let names = self.column_names();
        format!("<servingsim.Table: {} rows of {}>", self.__len__(), names.join(", "))
    }
}

/// Appends the values of `array` to `list`.
fn push(array: &dyn Array, list: &Bound<'_, PyList>) -> PyResult<()> {
    for index in 0..array.len() {
        if array.is_null(index) {
            list.append(list.py().None())?;
            continue;
        }
        match array.data_type() {
            DataType::Int64 => list.append(array.as_primitive::<Int64Type>().value(index))?,
            DataType::Float64 => list.append(array.as_primitive::<Float64Type>().value(index))?,
            DataType::Utf8 => list.append(array.as_string::<i32>().value(index))?,
            DataType::Dictionary(_, _) => {
                let names = array.as_dictionary::<Int32Type>();
                let key = names.keys().value(index) as usize;
                list.append(names.values().as_string::<i32>().value(key))?;
            }
            DataType::LargeList(_) => {
                let inner = PyList::empty(list.py());
                push(&array.as_list::<i64>().value(index), &inner)?;
                list.append(inner)?;
            }
            other => return Err(PyRuntimeError::new_err(format!("a column of {other}"))),
        }
    }
    Ok(())
}
