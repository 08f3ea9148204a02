//! Queries: free functions over one borrowed connection. A function that writes expects the members' locks, which
//! [`load`] takes; there is no other lock.
//!
//! What is written in numbers is written by arrays, one statement whatever their length. Functions over `&Conn` may be
//! joined: their statements travel together, in the order of the join.

mod days;
mod due;
mod entry;
mod estimate;
pub mod figures;
mod hold;
mod ladder;
mod load;
mod lot;
mod member;
mod merge;
mod programme;
mod referral;
mod reports;
mod reward;
mod rule;
mod save;
mod source;
mod statement;
mod subject;
mod tier;
mod usage;
mod voucher;

use cqm_rpc::Error;

use crate::domain::chain::Hash;

pub use days::{
    Closed, CohortMoved, Span, close_day, end_of, find_closed, first_joining, lock_closed, start_of,
    sum_cohorts, sum_days,
};
pub use due::{find_due_members, load_due};
pub use entry::{list_entries, read_entries};
pub use estimate::{find_estimate, insert_estimate, known_estimates, list_estimates};
pub use hold::{find_hold, list_holds, open_holds};
pub use ladder::{TierCopy, Tiers};
pub use load::peek;
pub use load::{Loaded, Wants, find_account, load, settled};
pub use lot::all_lots;
pub use member::{find_member, insert_member, list_members, lock_member};
pub use merge::{Moved, move_on};
pub use programme::{
    count_running, find_programme, insert_programme, list_programmes, lock_programme, update_programme,
};
pub use referral::{find_above, find_by_code, insert_referral};
pub use reports::{Position, TrialBalance, count_members, members_after, sum_accounts};
pub use reward::{
    find_reward, insert_reward, list_rewards, lock_reward, return_to_stock, take_from_stock, update_reward,
};
pub use rule::{count_rules, find_rule, insert_rule, list_rules, lock_rule, rules_in_force, update_rule};
pub use save::save;
pub use source::{Rewarded, count_sources, find_buyers, find_sourced};
pub use statement::{Expiring, History, expiring_next, sum_history};
pub use subject::{blockers, kept};
pub use tier::{
    delete_tier, find_tier, insert_tier, insert_turns, list_tiers, list_turns, lock_tiers, update_tier,
};
pub use usage::{
    CounterKey, Need, SLICES, change_budget, find_budgets, find_counters, lock_budgets, lock_slices,
    save_counters, save_slices,
};
pub use voucher::{
    count_vouchers, find_voucher, find_voucher_by_code, insert_voucher, list_vouchers, lock_due_vouchers,
    lock_issued_vouchers, lock_voucher, lock_voucher_by_code, update_vouchers,
};

/// One column of rows, as an array for a statement.
fn column<'a, R, T>(rows: &'a [R], field: impl Fn(&'a R) -> T) -> Vec<T> {
    rows.iter().map(field).collect()
}

fn hash(bytes: Vec<u8>) -> Result<Hash, Error> {
    bytes.try_into().map_err(|_| Error::internal("a hash of another length than 32 bytes"))
}
