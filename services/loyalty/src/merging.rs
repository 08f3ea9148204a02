//! A customer turns out to be another one, and so does the member.

use std::sync::Arc;

use cqm_db::{Conn, Patience, subjects};
use cqm_rpc::{Call, Error};
use uuid::Uuid;

use crate::App;
use crate::domain::account::Account;
use crate::domain::entry::Cause;
use crate::domain::referral::ReferralCode;
use crate::grpc::{self, convert::member};
use crate::store::{self, Moved, Wants};

/// Gives everything that a member has to the name that stays, which becomes a member if it is none, and returns how much
/// that was. The time goes with the number of lots that the member ever had, of which something is left or was used.
///
/// Behind the persons' own locks come those of the members, in the order in which every batch takes them: a batch that
/// has read the account commits first, and one that comes later finds that it is merged.
pub async fn merge(
    app: &App,
    tx: &mut Conn,
    call: &Call,
    customer: Uuid,
    survivor: Uuid,
) -> Result<Vec<(&'static str, i64)>, Error> {
    let posting = &app.posting;
    let wants = Wants { customers: [customer, survivor].into(), ..Wants::default() };
    let clock = || posting.clock.now();
    let mut loaded = store::load(tx, &wants, Patience::Wait, &posting.policy, &posting.tiers, clock).await?;
    let Some(mut from) = loaded.accounts.remove(&customer) else {
        return Ok(receipt(0, 0, Moved::default()));
    };
    loaded.check_caught_up(customer)?;
    loaded.check_caught_up(survivor)?;
    let now = posting.clock.now();
    let mut events = std::mem::take(&mut loaded.events);
    let mut into = match loaded.accounts.remove(&survivor) {
        Some(account) => account,
        None => {
            let code = ReferralCode::of(Uuid::new_v4());
            let (account, enrolled) = Account::open(survivor, code, Arc::clone(&loaded.ladder), now);
            events.extend(enrolled);
            account
        }
    };
    for lot in store::all_lots(tx, customer).await? {
        from.load_lot(lot);
    }
    let mut names = subjects::merged_into(tx, customer).await?;
    names.push(customer);

    let cause = |other: Uuid| {
        let actor = call.caller.subject.to_string();
        Cause::merge(actor, customer, survivor, member::name(other).to_string(), now)
    };
    let merge = from.merge(&into, &names, &cause(survivor), &cause(customer), Uuid::now_v7)?;
    let (_, went) = from.apply(merge.from);
    let (_, came) = into.apply(merge.into);
    events.extend(went.into_iter().chain(came));

    store::save(tx, &[&from, &into]).await.inspect_err(|_| posting.tiers.forget())?;
    let moved = store::move_on(tx, customer, survivor, into.is_new()).await?;
    grpc::append(tx, call, &events).await?;
    Ok(receipt(1, merge.lots, moved))
}

fn receipt(members: i64, lots: i64, moved: Moved) -> Vec<(&'static str, i64)> {
    let Moved { holds, vouchers, referrals } = moved;
    vec![
        ("members", members),
        ("lots", lots),
        ("holds", holds),
        ("vouchers", vouchers),
        ("referrals", referrals),
    ]
}
