//! Graphs that are begun one after the other, at times that are known.

use crate::{Graph, Machine, Memory, System, Topology, Waiting};
use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::rc::Rc;
use units::{Instant, NpuId};

/// Topologies side by side, whose NPUs are given graphs in order of time. One that is busy begins a graph when it is
/// through with those before it.
pub struct Schedule {
    machine: Machine,
    /// By NPU, what it was given and has not finished, oldest first.
    given: FxHashMap<NpuId, VecDeque<usize>>,
    /// When each graph was done, in the order in which they were given.
    ends: Vec<Option<Instant>>,
    /// Of the ends that the machine tells of its latest step, how many were noted.
    num_noted: usize,
}

impl Schedule {
    /// Nothing given yet. NPUs are numbered through all topologies.
    pub fn new(topologies: Vec<Topology>, system: System, memory: Memory) -> Self {
        let machine = Machine::new(topologies, system, memory);
        Self { machine, given: FxHashMap::default(), ends: Vec::new(), num_noted: 0 }
    }

    /// The time up to which everything has happened.
    pub fn now(&self) -> Instant {
        self.machine.now()
    }

    /// Gives an NPU a graph at `at`, after everything that happens before; returns the graph's number, from 0.
    ///
    /// # Panics
    /// When `at` is past already, or the graph is none for this NPU, as [`Machine::begin`] has it.
    pub fn begin(&mut self, at: Instant, npu: NpuId, graph: Rc<Graph>) -> usize {
        assert!(at >= self.now(), "{at} is past");
        self.run_to(Some(at));
        let number = self.ends.len();
        self.ends.push(None);
        self.given.entry(npu).or_default().push_back(number);
        self.machine.begin(npu, graph);
        self.note_ends();
        number
    }

    /// Lets everything happen that is left to.
    pub fn run(&mut self) {
        self.run_to(None);
    }

    /// When the graph of this number was done, if it is.
    pub fn end(&self, number: usize) -> Option<Instant> {
        self.ends[number]
    }

    /// After [`run`](Self::run): the NPUs that never finish, in order, the graph that each is at, and what it waits for.
    pub fn stuck(&self) -> Vec<(NpuId, usize, Vec<Waiting>)> {
        let at = |(&npu, given): (&NpuId, &VecDeque<usize>)| {
            given.front().map(|&number| (npu, number, self.machine.waiting(npu)))
        };
        let mut stuck: Vec<_> = self.given.iter().filter_map(at).collect();
        stuck.sort_unstable_by_key(|(npu, ..)| *npu);
        stuck
    }

    /// Lets everything up to and including `until` happen, or everything there is.
    fn run_to(&mut self, until: Option<Instant>) {
        // What begins in one nanosecond begins before anything that follows from it.
        while until != Some(self.machine.now())
            && self.machine.next_event_time().is_some_and(|next| until.is_none_or(|until| next <= until))
        {
            self.machine.step();
            self.num_noted = 0;
            self.note_ends();
        }
        if let Some(until) = until.filter(|&until| until > self.machine.now()) {
            self.machine.advance_to(until);
            self.num_noted = 0;
        }
    }

    fn note_ends(&mut self) {
        for npu in &self.machine.finished()[self.num_noted..] {
            if let Some(number) = self.given.get_mut(npu).and_then(VecDeque::pop_front) {
                self.ends[number] = Some(self.machine.now());
            }
        }
        self.num_noted = self.machine.finished().len();
    }
}
