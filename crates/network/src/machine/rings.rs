//! One NPU's way through the ring phases of a collective, message by message.
//!
//! A phase is a row of stages: the endpoint delay, the reduction if the stage follows a message that is reduced, then
//! either the next message is sent and one awaited, or the phase is over.

use super::Machine;
use super::clock::{Event, Local, Message};
use super::npu::InFlight;
use crate::plan::Phase;
use crate::{Collective, Plan};
use units::{Duration, NpuId};

impl Machine {
    pub(super) fn begin_collective(&mut self, npu: NpuId, node: u32, collective: Collective) {
        let topology = self.npus[npu.index()].topology;
        // A collective that can't complete keeps the NPU for ever and is not counted.
        let Some(plan) = self.plan(topology, collective) else { return };
        let state = &mut self.npus[npu.index()];
        let number = state.collectives;
        state.collectives += 1;
        state.collective = Some(InFlight { node, number, plan, phase: 0, stages: 0, to: npu, from: npu });
        if state.releasing != Some(self.plans[plan].phases()[0].dim) {
            self.begin_phase(npu);
        }
    }

    fn plan(&mut self, topology: u32, collective: Collective) -> Option<usize> {
        *self.plan_indices.entry((topology, collective)).or_insert_with(|| {
            let plan = Plan::new(&self.topologies[topology as usize], &self.system, collective)?;
            self.plans.push(plan);
            Some(self.plans.len() - 1)
        })
    }

    fn begin_phase(&mut self, npu: NpuId) {
        let first = self.npus[npu.index()].first;
        let (in_flight, phase) = self.in_flight(npu);
        let (to, from) = phase.neighbours(npu.index() - first);
        in_flight.to = NpuId::from(first + to);
        in_flight.from = NpuId::from(first + from);
        in_flight.stages = 0;
        self.next_stage(npu);
    }

    pub(super) fn next_stage(&mut self, npu: NpuId) {
        let (in_flight, phase) = self.in_flight(npu);
        in_flight.stages += 1;
        self.clock.schedule_local(npu, phase.endpoint_delay, Local::Delayed);
    }

    pub(super) fn reduce_or_proceed(&mut self, npu: NpuId) {
        let (in_flight, phase) = self.in_flight(npu);
        // The first stage follows no message.
        if (2..=phase.reductions + 1).contains(&in_flight.stages) {
            self.clock.schedule_local(npu, phase.reduction_time, Local::Reduced);
        } else {
            self.proceed(npu);
        }
    }

    pub(super) fn proceed(&mut self, npu: NpuId) {
        let (&mut InFlight { node, number, stages, to, from, .. }, phase) = self.in_flight(npu);
        if stages > phase.rounds {
            return self.end_phase(npu);
        }
        let bytes = phase.message_bytes;
        self.clock.schedule(phase.message_delay, Event::Arrived(to, Message { from: npu, number, bytes }));
        if self.npus[npu.index()].collective_mail.ask(Message { from, number, bytes }, node) {
            self.clock.schedule(Duration::ZERO, Event::Received(npu));
        }
    }

    fn end_phase(&mut self, npu: NpuId) {
        let (in_flight, phase) = self.in_flight(npu);
        let (node, plan) = (in_flight.node, in_flight.plan);
        in_flight.phase += 1;
        if in_flight.phase < self.plans[plan].phases().len() {
            return self.begin_phase(npu);
        }
        let state = &mut self.npus[npu.index()];
        state.collective = None;
        state.communicating = false;
        // The dimension is given up after the node's dependants were tried, so one of them that wants it starts last.
        state.releasing = Some(phase.dim);
        self.complete(npu, node);
        let state = &mut self.npus[npu.index()];
        state.releasing = None;
        if state.collective.is_some_and(|next| next.stages == 0) {
            self.begin_phase(npu);
        }
    }

    /// The collective this NPU takes part in, and its present phase.
    fn in_flight(&mut self, npu: NpuId) -> (&mut InFlight, Phase) {
        let in_flight = self.npus[npu.index()].collective.as_mut().expect("a collective is under way");
        let phase = self.plans[in_flight.plan].phases()[in_flight.phase];
        (in_flight, phase)
    }
}
