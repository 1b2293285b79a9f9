//! Workloads in the few numbers that matter.

use engine::{Call, Entry};
use units::{Duration, Instant, RequestId};

/// A session, or a plain request where there is one call.
#[derive(Clone, Debug)]
pub(crate) struct SessionPlan {
    pub(crate) arrival_ns: u64,
    pub(crate) calls: Vec<CallPlan>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct CallPlan {
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    pub(crate) tool_ns: u64,
    pub(crate) ids: Ids,
}

/// Where the token ids of a call come from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ids {
    Unknown,
    /// The first `tokens` are those of the `family`, the rest its own.
    Shared {
        family: u32,
        tokens: u32,
    },
}

impl SessionPlan {
    /// A request by itself, without token ids.
    pub(crate) fn plain(arrival_ns: u64, input_tokens: u64, output_tokens: u64) -> Self {
        Self { arrival_ns, calls: vec![CallPlan { input_tokens, output_tokens, tool_ns: 0, ids: Ids::Unknown }] }
    }
}

/// The workload in order of arrival, ids given in that order.
pub(crate) fn entries(sessions: &[SessionPlan]) -> Vec<Entry> {
    let mut sessions: Vec<&SessionPlan> = sessions.iter().collect();
    sessions.sort_by_key(|session| session.arrival_ns);
    let mut next_id = 0;
    let entry = |session: &SessionPlan| {
        let first_id = next_id;
        next_id += session.calls.len() as u64;
        let calls = session.calls.iter().zip(first_id..).map(|(plan, id)| call(plan, id));
        let arrival = Instant::from_ns(session.arrival_ns);
        Entry::session(arrival, RequestId(first_id), calls).expect("a session has calls")
    };
    sessions.into_iter().map(entry).collect()
}

fn call(plan: &CallPlan, id: u64) -> Call {
    let CallPlan { input_tokens, output_tokens, tool_ns, ids } = *plan;
    let (input_ids, output_ids) = match ids {
        Ids::Unknown => Default::default(),
        Ids::Shared { family, tokens } => {
            // Ids of different families and of different requests never meet.
            let token_id = |position: u32| {
                if position < tokens { family * 10_000 + position } else { (id as u32 + 100) * 10_000 + position }
            };
            let (input, all) = (input_tokens as u32, (input_tokens + output_tokens) as u32);
            ((0..input).map(token_id).collect(), (input..all).map(token_id).collect())
        }
    };
    Call { input_tokens, output_tokens, tool_time: Duration::from_ns(tool_ns), input_ids, output_ids }
}
