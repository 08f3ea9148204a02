//! Everything that a transaction of the ledger has changed, written at once.

use cqm_db::Conn;
use cqm_rpc::{Error, reason};
use diesel::result::Error as Diesel;
use uuid::Uuid;

use super::entry::insert_entries;
use super::hold::{insert_holds, update_holds};
use super::lot::{insert_lots, update_lots};
use super::member::{INSERT, UPDATE, write_members};
use super::source::insert_sources;
use super::tier::insert_turns;
use crate::domain::account::Account;
use crate::domain::entry::Entry;
use crate::domain::hold::Hold;
use crate::domain::lot::Lot;
use crate::domain::member::Member;
use crate::error::constraint;

/// Writes what has changed of accounts, all but its events. The statements travel together.
pub async fn save(conn: &Conn, accounts: &[&Account]) -> Result<(), Error> {
    let members = |new: bool| -> Vec<&Member> {
        accounts.iter().filter(|account| account.is_new() == new).map(|account| &account.member).collect()
    };
    let (created, changed) = (members(true), members(false));
    let (mut new_lots, mut lots) = (Vec::new(), Vec::new());
    let (mut new_holds, mut holds) = (Vec::new(), Vec::new());
    let (mut entries, mut turns): (Vec<&Entry>, Vec<_>) = (Vec::new(), Vec::new());
    for account in accounts {
        let (customer, journal) = (account.member.customer, account.journal());
        let lot = |id: &Uuid| -> (Uuid, Lot) {
            (customer, *account.lot(*id).expect("what the journal names is in the account"))
        };
        let hold = |id: &Uuid| -> (Uuid, &Hold) {
            (customer, account.find_hold(*id).expect("what the journal names is in the account"))
        };
        new_lots.extend(journal.new_lots.iter().map(lot));
        lots.extend(journal.changed_lots.iter().map(lot));
        new_holds.extend(journal.new_holds.iter().map(hold));
        holds.extend(journal.changed_holds.iter().map(hold));
        entries.extend(&journal.entries);
        turns.extend(journal.turns.iter().map(|(version, turn)| (customer, *version, *turn)));
    }
    let outcomes = futures::join!(
        write_members(conn, INSERT, &created),
        write_members(conn, UPDATE, &changed),
        insert_lots(conn, &new_lots),
        update_lots(conn, &lots),
        insert_holds(conn, &new_holds),
        update_holds(conn, &holds),
        insert_entries(conn, &entries),
        insert_sources(conn, &entries),
        insert_turns(conn, &turns),
    );
    outcomes.0.map_err(expected)?;
    if outcomes.1.map_err(expected)? != changed.len() {
        return Err(Error::internal("a locked member is not there"));
    }
    outcomes.2.and(outcomes.3).and(outcomes.4).and(outcomes.5).and(outcomes.6).and(outcomes.7).and(outcomes.8)
}

/// What the same again does not meet: somebody else has made the customer a member since this transaction looked,
/// another member has the code that was made up, or a tier that is given was deleted.
pub(super) fn expected(error: Diesel) -> Error {
    const EXPECTED: [&str; 3] =
        [constraint::MEMBER_ONCE, constraint::MEMBER_REFERRAL_CODE, constraint::MEMBER_TIER];
    match &error {
        Diesel::DatabaseError(_, about)
            if about.constraint_name().is_some_and(|name| EXPECTED.contains(&name)) =>
        {
            Error::Conflict { reason: reason::TRANSACTION_CONFLICT, source: None }
        }
        _ => error.into(),
    }
}
