//! Queries: free functions over one borrowed connection. A function that writes expects the members' locks, which
//! [`load`] takes; there is no other lock.
//!
//! What is written in numbers is written by arrays, one statement whatever their length. Functions over `&Conn` may be
//! joined: their statements travel together, in the order of the join.

mod days;
mod due;
mod entry;
mod estimate;
mod hold;
mod load;
mod lot;
mod member;
mod reports;
mod save;
mod statement;

use cqm_rpc::Error;

use crate::domain::chain::Hash;

pub use days::{
    Closed, CohortMoved, Span, close_day, end_of, find_closed, first_joining, lock_closed, start_of,
    sum_cohorts, sum_days,
};
pub use due::{find_due_members, load_due};
pub use entry::{Rewarded, list_entries, read_entries};
pub use estimate::{find_estimate, insert_estimate, known_estimates, list_estimates};
pub use hold::{find_hold, list_holds, open_holds};
pub use load::{Loaded, Wants, find_account, load};
pub use lot::all_lots;
pub use member::{find_member, insert_member, list_members, lock_member, update_member};
pub use reports::{Position, TrialBalance, count_members, members_after, sum_accounts};
pub use save::save;
pub use statement::{Expiring, History, expiring_next, sum_history};

/// One column of rows, as an array for a statement.
fn column<'a, R, T>(rows: &'a [R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}

fn hash(bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| Error::internal("a hash of another length than 32 bytes"))
}
