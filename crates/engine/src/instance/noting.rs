//! Notes of what happens to requests, for an observer that is not at hand then.

use units::{Instant, RequestId};

use super::Instance;
use crate::activity::{Note, Notes, RequestMoment};
use crate::entry::Call;

impl Instance<'_> {
    /// Takes notes from here on.
    pub(crate) fn take_notes(&mut self) {
        assert!(self.num_formed == 0 && self.is_empty(), "the run has begun");
        self.notes = Some(Box::default());
    }

    pub(crate) fn notes_mut(&mut self) -> Option<&mut Notes> {
        self.notes.as_deref_mut()
    }

    /// Notes what time it is.
    pub(crate) fn note_time(&mut self, now: Instant) {
        if let Some(notes) = &mut self.notes {
            notes.now = now;
        }
    }

    /// Notes that something happens to a request.
    pub(super) fn note(&mut self, request: RequestId, what: RequestMoment) {
        if let Some(notes) = &mut self.notes {
            notes.list.push(Note::Request(notes.now, request, what));
        }
    }

    /// Notes that a request has arrived, and waits.
    pub(super) fn note_arrival(&mut self, request: RequestId, arrival: Instant, call: &Call) {
        let (running, waiting, held) = (self.num_running(), self.num_waiting(), self.kv_blocks_held());
        let Some(notes) = &mut self.notes else { return };
        let what = RequestMoment::Arrived { input_tokens: call.input_tokens, output_tokens: call.output_tokens };
        notes.list.push(Note::Request(arrival, request, what));
        notes.list.push(Note::Load(arrival, running, waiting, held));
    }
}
