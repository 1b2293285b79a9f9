//! Results of a run as Arrow tables, for programs that compute with them.
//!
//! [`RequestTable`] has a row a request, [`IntervalTable`] one an instance, group or node and log interval. They say what
//! the CSV files say, with a type a column. Both are filled while a run goes, and hand on batches of bounded size, so
//! that whoever writes them out need not hold them all.
//!
//! Whole numbers are signed, of 64 bits: differences of times come out right that way, and there are programs that know
//! no other. Names that repeat are dictionaries. Columns carry their unit in their name, as `ttft_ns` does.

mod intervals;
mod requests;

pub use intervals::IntervalTable;
pub use requests::{RequestColumns, RequestTable};

/// Most rows of a batch.
const BATCH_ROWS: usize = 1 << 16;

/// A count, a time or an id as tables have it.
///
/// # Panics
/// Beyond 63 bits. For a time that is after 292 years, where no workload gets: the latest arrival is half of that.
fn whole(number: u64) -> i64 {
    number.try_into().expect("a number of at most 63 bits")
}
