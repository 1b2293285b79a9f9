//! Watches a run for Python: collects tables, tells progress, and stops where something was raised.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use cli::Watcher;
use engine::FinishedRequest;
use metrics::{IntervalResults, Layout};
use pyo3::prelude::*;
use tables::{IntervalTable, RequestColumns, RequestTable};

use crate::table::Table;

/// Between two looks at the interpreter: whether Ctrl-C was pressed, and what progress there is to tell.
const TICK: Duration = Duration::from_millis(100);

/// Instants of a run between two looks at the clock on the wall.
const STEPS_A_LOOK: u32 = 64;

/// What a callable raised, because of which the run stops.
#[derive(Clone, Debug, Default)]
pub(crate) struct Raised(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    is_set: AtomicBool,
    /// The first.
    error: Mutex<Option<PyErr>>,
}

impl Raised {
    /// Whether anything was.
    pub(crate) fn is_set(&self) -> bool {
        self.0.is_set.load(Ordering::Relaxed)
    }

    /// Remembers the first.
    pub(crate) fn set(&self, error: PyErr) {
        if !self.0.is_set.swap(true, Ordering::Relaxed) {
            *self.0.error.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    }

    /// What was raised first.
    pub(crate) fn take(&self) -> Option<PyErr> {
        self.0.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Watches one run.
pub(crate) struct Collector {
    requests: RequestTable,
    request_batches: Vec<RecordBatch>,
    intervals: IntervalTable,
    interval_batches: Vec<RecordBatch>,
    progress: Option<Py<PyAny>>,
    raised: Raised,
    num_finished: u64,
    num_requests: u64,
    num_steps: u32,
    next_tick: Instant,
}

impl Collector {
    /// Watches a run of `num_requests` requests, which stops when anything is in `raised`.
    pub(crate) fn new(
        layout: &Layout,
        columns: RequestColumns,
        num_requests: u64,
        progress: Option<Py<PyAny>>,
        raised: Raised,
    ) -> Self {
        Self {
            requests: RequestTable::new(layout, columns),
            request_batches: Vec::new(),
            intervals: IntervalTable::new(layout),
            interval_batches: Vec::new(),
            progress,
            raised,
            num_finished: 0,
            num_requests,
            num_steps: 0,
            next_tick: Instant::now(),
        }
    }

    /// Lets the interpreter handle signals, and tells progress.
    pub(crate) fn tick(&mut self) {
        let outcome = Python::attach(|py| {
            py.check_signals()?;
            match &self.progress {
                Some(progress) => progress.call1(py, (self.num_finished, self.num_requests)).map(drop),
                None => Ok(()),
            }
        });
        if let Err(error) = outcome {
            self.raised.set(error);
        }
        self.next_tick = Instant::now() + TICK;
    }

    /// The tables of requests and of intervals.
    pub(crate) fn into_tables(self) -> (Table, Table) {
        let all = |mut first: Vec<RecordBatch>, rest: Vec<RecordBatch>| {
            first.extend(rest);
            first
        };
        let schema = self.requests.schema();
        let requests = Table::new(schema, all(self.request_batches, self.requests.finish()));
        let schema = self.intervals.schema();
        let intervals = Table::new(schema, all(self.interval_batches, self.intervals.finish()));
        (requests, intervals)
    }
}

impl Watcher for Collector {
    fn request_finished(&mut self, request: &FinishedRequest<'_>) {
        self.requests.push(request);
        self.request_batches.extend(self.requests.take());
        self.num_finished += 1;
    }

    fn interval_ended(&mut self, results: &IntervalResults) {
        self.intervals.push(results);
        self.interval_batches.extend(self.intervals.take());
    }

    fn goes_on(&mut self) -> bool {
        self.num_steps += 1;
        if self.num_steps >= STEPS_A_LOOK {
            self.num_steps = 0;
            if Instant::now() >= self.next_tick {
                self.tick();
            }
        }
        !self.raised.is_set()
    }

    fn ends(&mut self) -> bool {
        if self.progress.is_some() {
            self.tick();
        }
        !self.raised.is_set()
    }
}
