//! What happens to requests and instances, told to those who ask.

use units::{GroupId, InstanceId, Instant};

use super::Cluster;
use crate::activity::{LoadChange, Note, RequestEvent};
use crate::entry::Entry;
use crate::observer::Observer;

impl<I: Iterator<Item = Entry>> Cluster<'_, I> {
    /// Has the observer told what requests and NPUs do.
    pub(crate) fn tell_activity(&mut self) {
        self.tells_activity = true;
        self.instances.iter_mut().for_each(super::Instance::take_notes);
    }

    /// Whether the observer is to be told what NPUs do in the wave that was started last.
    pub(crate) fn is_told(&self) -> bool {
        self.is_told
    }

    /// Tells of the instances whose wave has just started, and asks whether to tell of their NPUs.
    pub(super) fn tell_wave(&mut self, group: GroupId, now: Instant, observer: &mut dyn Observer) {
        for &instance in &self.groups[group.index()].spec.members {
            self.tell_notes(instance, now, observer);
            self.tell_load(instance, now, observer);
        }
        let wave = self.groups[group.index()].totals.waves - 1;
        self.is_told = observer.wants_activity(group, wave, now);
    }

    /// Tells what an instance noted.
    pub(super) fn tell_notes(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let Some(notes) = self.instances[instance.index()].notes_mut() else { return };
        notes.now = now;
        for note in notes.list.drain(..) {
            match note {
                Note::Request(at, request, what) => {
                    observer.request_event(&RequestEvent { instance, request, at, what });
                }
                Note::Load(at, running, waiting, kv_blocks_held) => {
                    observer.load_changed(&LoadChange { instance, at, running, waiting, kv_blocks_held });
                }
            }
        }
    }

    /// Tells what an instance holds now.
    pub(super) fn tell_load(&mut self, instance: InstanceId, now: Instant, observer: &mut dyn Observer) {
        let state = &self.instances[instance.index()];
        observer.load_changed(&LoadChange {
            instance,
            at: now,
            running: state.num_running(),
            waiting: state.num_waiting(),
            kv_blocks_held: state.kv_blocks_held(),
        });
    }
}
