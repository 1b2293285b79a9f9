//! Faults and failures as exceptions, which are written in Python (`servingsim/_errors.py`).

use cli::Failure;
use diagnostics::{Fault, Faults, Position};
use pyo3::exceptions::{PyOSError, PyRuntimeError};
use pyo3::prelude::*;

/// The name that faults give a workload that is in memory, one request a line.
pub(crate) const REQUESTS: &str = "requests";

/// The name that faults give a cluster that is in memory.
pub(crate) const CLUSTER: &str = "cluster";

/// How inputs that are in memory came here, for the places that faults name.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Origins {
    /// Whether the cluster was an object, whose text nobody has seen.
    pub(crate) cluster_is_object: bool,
    /// Whether requests were objects or rows, one a line.
    pub(crate) requests_are_objects: bool,
}

impl Origins {
    /// The fault, at the place that the user knows.
    fn placed(self, mut fault: Fault) -> Fault {
        if self.cluster_is_object && fault.source == CLUSTER {
            fault.position = None;
        }
        if self.requests_are_objects
            && fault.source == REQUESTS
            && let Some(Position { line, .. }) = fault.position
        {
            fault.source = format!("{REQUESTS}[{}]", line - 1);
            fault.position = None;
        }
        fault
    }
}

/// An `InputError` with all `faults`.
pub(crate) fn input_error(py: Python<'_>, faults: &Faults, origins: Origins) -> PyErr {
    let build = || {
        let module = py.import("servingsim._errors")?;
        let class = module.getattr("Fault")?;
        let listed = faults.iter().map(|fault| {
            let Fault { source, position, path, message, hint } = origins.placed(fault.clone());
            let (line, column) = position.map(|place| (place.line, place.column)).unzip();
            class.call1((source, line, column, path, message, hint))
        });
        let listed = listed.collect::<PyResult<Vec<_>>>()?;
        module.getattr("InputError")?.call1((listed,))
    };
    build().map_or_else(|error| error, PyErr::from_value)
}

/// What a run that failed raises.
pub(crate) fn failure(py: Python<'_>, failure: Failure, origins: Origins) -> PyErr {
    match failure {
        Failure::Input(faults) => input_error(py, &faults, origins),
        Failure::Stuck(stuck) => {
            let build = || py.import("servingsim._errors")?.getattr("StuckError")?.call1((stuck.num_requests,));
            build().map_or_else(|error| error, PyErr::from_value)
        }
        Failure::Deadlock(what) => PyRuntimeError::new_err(what),
        Failure::Output(error) => PyOSError::new_err(error),
    }
}

/// A `RoutingError`.
pub(crate) fn routing_error(py: Python<'_>, message: &str) -> PyErr {
    let build = || py.import("servingsim._errors")?.getattr("RoutingError")?.call1((message,));
    build().map_or_else(|error| error, PyErr::from_value)
}
