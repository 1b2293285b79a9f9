//! One line of a workload, on its way to being written.

use engine::Call;

/// A request, or a session of calls that follow one another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Item {
    /// When its first call arrives, in nanoseconds; `None` where a trace doesn't tell.
    pub arrival_ns: Option<u64>,
    /// What names it, if it is a session.
    pub session_id: Option<String>,
    /// Its calls, at least one; one alone if it has no `session_id`.
    pub calls: Vec<Call>,
}

impl Item {
    /// A plain request.
    pub fn plain(arrival_ns: Option<u64>, call: Call) -> Self {
        Self { arrival_ns, session_id: None, calls: vec![call] }
    }
}
