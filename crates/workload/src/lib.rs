//! Workloads: what arrives when, and how many tokens it brings and asks for.
//!
//! A workload file is JSONL, one entry a line. A plain request is
//! `{"input_toks", "output_toks", "arrival_time_ns", "input_tok_ids"?, "output_tok_ids"?}`, a session of calls that
//! follow one another
//! `{"session_id"?, "arrival_time_ns", "sub_requests": [{"input_toks", "output_toks", "tool_duration_ns"?,
//! "input_tok_ids"?, "output_tok_ids"?}]}`. Both kinds may stand in one file, in any order of arrival.
//!
//! [`read_file`] takes what LLMServingSim takes (behaviour contract, section 1) and is strict beyond it: what that
//! would quietly cut, skip or ignore is a fault with its place, because a workload read wrongly gives numbers that look
//! right.
//!
//! Rows of other files come as such lines ([`read_rows`]).
//!
//! Every line is checked before anything arrives. A long file's entries are not kept, but read again as a run asks for
//! them ([`Workload::into_entries`]).

mod entries;
mod line;
mod lines;
mod read;
mod routes;
mod scan;
pub mod schema;
mod usual;
mod workload;

pub use entries::Entries;
pub use lines::Rewind;
pub use read::{ReadOptions, read_file, read_rows, read_str};
pub use routes::parse_routes;
pub use workload::Workload;
