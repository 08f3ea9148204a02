//! Queries: free functions over one borrowed connection. A function that writes expects the members' locks, which
//! [`load`] takes; there is no other lock.
//!
//! What is written in numbers is written by arrays, one statement whatever their length. Functions over `&Conn` may be
//! joined: their statements travel together, in the order of the join.

mod due;
mod entry;
mod hold;
mod load;
mod lot;
mod member;
mod reports;
mod reward;
mod save;
mod voucher;

use cqm_rpc::Error;

use crate::domain::chain::Hash;

pub use due::{find_due_members, load_due};
pub use entry::{Rewarded, list_entries, read_entries};
pub use hold::{find_hold, list_holds, open_holds};
pub use load::{Loaded, Wants, find_account, load};
pub use lot::all_lots;
pub use member::{find_member, insert_member, list_members, lock_member, update_member};
pub use reports::{Position, TrialBalance, count_members, members_after, sum_accounts};
pub use reward::{
    find_reward, insert_reward, list_rewards, lock_reward, return_to_stock, take_from_stock, update_reward,
};
pub use save::save;
pub use voucher::{
    count_vouchers, find_voucher, find_voucher_by_code, insert_voucher, list_vouchers, lock_due_vouchers,
    lock_voucher, lock_voucher_by_code, update_vouchers,
};

/// One column of rows, as an array for a statement.
fn column<'a, R, T>(rows: &'a [R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}

fn hash(bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| Error::internal("a hash of another length than 32 bytes"))
}
