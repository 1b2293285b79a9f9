//! A run.

use std::ffi::OsString;
use std::sync::Arc;

use cli::{Given, Run, Text};
use diagnostics::{Fault, Faults};
use engine::RequestRouter;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use tables::RequestColumns;

use crate::faults::{self, CLUSTER, Origins, REQUESTS};
use crate::policies::{CallableRouter, route_experts};
use crate::table::Table;
use crate::watcher::{Collector, Raised};

/// What a run came to; `servingsim.Result` shows it.
#[pyclass(frozen, module = "servingsim._native")]
pub(crate) struct RawResult {
    /// The summary as JSON.
    #[pyo3(get)]
    json: String,
    /// The summary as text.
    #[pyo3(get)]
    text: String,
    #[pyo3(get)]
    requests: Py<Table>,
    #[pyo3(get)]
    intervals: Py<Table>,
    #[pyo3(get)]
    notes: Vec<String>,
    timings: Vec<(&'static str, f64)>,
}

#[pymethods]
impl RawResult {
    /// Seconds by what they were spent on, in order.
    #[getter]
    fn timings<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let timings = PyDict::new(py);
        self.timings.iter().try_for_each(|(what, seconds)| timings.set_item(what, seconds))?;
        Ok(timings)
    }
}

/// Reads, checks and runs. `flags` are those of the command; a cluster and requests that are in memory come as texts.
#[pyfunction]
#[pyo3(signature = (flags, *, cluster, cluster_is_object, requests, request_router, expert_router, progress, itl, stamps))]
#[expect(clippy::too_many_arguments, reason = "they are keywords, and one caller has them all")]
pub(crate) fn run(
    py: Python<'_>,
    flags: Vec<OsString>,
    cluster: Option<String>,
    cluster_is_object: bool,
    requests: Option<String>,
    request_router: Option<Py<PyAny>>,
    expert_router: Option<Py<PyAny>>,
    progress: Option<Py<PyAny>>,
    itl: bool,
    stamps: bool,
) -> PyResult<RawResult> {
    let origins = Origins { cluster_is_object, requests_are_objects: requests.is_some() };
    let of = |name: &str, text: Option<String>| text.map(|text| Text { name: name.to_owned(), text });
    let given = Given { cluster: of(CLUSTER, cluster), workload: of(REQUESTS, requests) };
    let prepared = py.detach(|| Run::prepare(&flags, given));
    let mut run = prepared.map_err(|faults| faults::input_error(py, &faults, origins))?;
    let raised = Raised::default();
    if let Some(callable) = expert_router
        && !route_experts(run.deployment_mut(), &Arc::new(callable), &raised)
    {
        let fault = Fault::new("--expert-routing-policy", "no instance serves a mixture-of-experts model");
        return Err(faults::input_error(py, &Faults::from(fault.hint("leave it out")), origins));
    }
    let columns = RequestColumns { itl, stamps };
    let mut collector = Collector::new(&run.layout(), columns, run.num_requests(), progress, raised.clone());
    let notes = run.notes();
    let router = request_router.map(|callable| CallableRouter { callable, raised: raised.clone() });
    let outcome = py.detach(|| {
        collector.tick();
        run.run(router.map(|router| Box::new(router) as Box<dyn RequestRouter>), &mut collector)
    });
    if let Some(error) = raised.take() {
        return Err(error);
    }
    let outcome = outcome.map_err(|failure| faults::failure(py, failure, origins))?;
    let outcome = outcome.expect("a run is broken off only where something was raised");
    let (requests, intervals) = collector.into_tables();
    Ok(RawResult {
        json: report::summary_json(&outcome.summary),
        text: report::summary_table(&outcome.summary),
        requests: Py::new(py, requests)?,
        intervals: Py::new(py, intervals)?,
        notes,
        timings: outcome.timings.iter().map(|(what, time)| (*what, time.as_secs_f64())).collect(),
    })
}
