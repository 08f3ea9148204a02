//! Queries: free functions over one borrowed connection. A function that writes expects the member's lock, which
//! [`lock_account`] takes; there is no other lock.
//!
//! What is written in numbers is written by arrays, one statement whatever their length.

mod entry;
mod lot;
mod member;

pub use entry::{find_entry_of_source, insert_entries, insert_postings, list_entries};
pub use lot::{insert_lot, list_spendable_lots, take_from_lots};
pub use member::{
    TrialBalance, find_account, find_member, insert_member, list_members, lock_account, lock_member,
    sum_accounts, update_account, update_member,
};
