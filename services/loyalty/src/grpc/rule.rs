//! Earning rules: made, changed, asked.

use std::collections::BTreeSet;

use cqm_db::Conn;
use cqm_proto::loyalty::v1 as proto;
use cqm_rpc::{Call, Error, Etag};
use diesel_async::SimpleAsyncConnection;
use uuid::Uuid;

use super::convert::rule::{self as convert, Update};
use super::convert::{EARNING_RULES, earning, named, programme};
use crate::domain::programme::{MOST_RULES, Programme, Refusal};
use crate::domain::rules::{Pot, Rule};
use crate::error::{programme_not_found, rule_not_found};
use crate::{App, store};

pub(super) async fn create(
    app: &App,
    call: &Call,
    message: &proto::CreateEarningRuleRequest,
) -> Result<proto::EarningRule, Error> {
    let rule = convert::create(message, Uuid::now_v7(), app.posting.clock.now())?;
    let answer = app
        .db
        .mutate(call, "create_earning_rule", message, async |tx| {
            lock_programme(tx, rule.programme, "create_rule").await?;
            if store::count_rules(tx, rule.programme).await? >= MOST_RULES {
                return Err(Refusal::TooManyRules.into());
            }
            store::insert_rule(tx, &rule).await?;
            store::change_budget(tx, rule.id, None, rule.budget).await?;
            Ok(convert::answer(&rule, rule.budget.unwrap_or(0)))
        })
        .await;
    app.posting.book.forget();
    answer
}

pub(super) async fn get(
    app: &App,
    call: &Call,
    message: &proto::GetEarningRuleRequest,
) -> Result<proto::EarningRule, Error> {
    let id = named(EARNING_RULES, &message.name)?;
    app.db
        .read(call, "get_earning_rule", async |conn| {
            let found = store::find_rule(conn, id).await?;
            show(conn, &found.ok_or_else(|| rule_not_found(id))?).await
        })
        .await
}

pub(super) async fn list(
    app: &App,
    call: &Call,
    message: &proto::ListEarningRulesRequest,
) -> Result<proto::ListEarningRulesResponse, Error> {
    let (page, programme) = convert::list(message)?;
    let (found, left) = app
        .db
        .read(call, "list_earning_rules", async |conn| {
            let found = store::list_rules(conn, programme, page.after, page.limit()).await?;
            let budgets: BTreeSet<Uuid> = found.iter().map(|rule| rule.id).collect();
            let left = store::find_budgets(conn, &budgets).await?;
            Ok::<_, Error>((found, left))
        })
        .await?;
    let answers: Vec<_> =
        found.iter().map(|rule| convert::answer(rule, left.get(&rule.id).map_or(0, Pot::left))).collect();
    let mut page = page;
    page.shorten(&answers);
    let page = page.page(answers.into_iter().zip(found).collect(), |(_, rule)| rule.id);
    Ok(proto::ListEarningRulesResponse {
        earning_rules: page.items.into_iter().map(|(answer, _)| answer).collect(),
        next_page_token: page.next_page_token,
    })
}

pub(super) async fn update(
    app: &App,
    call: &Call,
    message: &proto::UpdateEarningRuleRequest,
) -> Result<proto::EarningRule, Error> {
    let update = Update::parse(message)?;
    let answer = app
        .db
        .mutate(call, "update_earning_rule", message, async |tx| {
            let id = update.name.id();
            let found = store::find_rule(tx, id).await?.ok_or_else(|| rule_not_found(id))?;
            // The programme before the rule, as where a rule is made.
            lock_programme(tx, found.programme, "update_rule").await?;
            let before = store::lock_rule(tx, id).await?.ok_or_else(|| rule_not_found(id))?;
            Etag::check(update.etag, before.version, &update.name.to_string())?;
            let mut rule = update.apply(&before)?;
            if rule != before {
                rule.version += 1;
                rule.update_time = app.posting.clock.now();
                store::change_budget(tx, id, before.budget, rule.budget).await?;
                store::update_rule(tx, &rule).await?;
            }
            show(tx, &rule).await
        })
        .await;
    app.posting.book.forget();
    answer
}

pub(super) async fn explain(
    app: &App,
    call: &Call,
    message: &proto::ExplainEarningRequest,
) -> Result<proto::ExplainEarningResponse, Error> {
    let earn = earning::asked(message.earning.as_ref())?;
    app.db
        .tx_without_events(call, "explain_earning", async |tx| {
            read_only(tx).await?;
            app.posting.explain(tx, &earn).await
        })
        .await
}

pub(super) async fn simulate(
    app: &App,
    call: &Call,
    message: &proto::SimulateEarningRequest,
) -> Result<proto::SimulateEarningResponse, Error> {
    let earn = earning::asked(message.earning.as_ref())?;
    app.db
        .tx_without_events(call, "simulate_earning", async |tx| {
            read_only(tx).await?;
            app.posting.simulate(tx, call, &earn).await
        })
        .await
}

/// One moment is read, and the database itself sees to it that nothing is written.
async fn read_only(tx: &mut Conn) -> Result<(), Error> {
    Ok(tx.batch_execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY").await?)
}

/// The lock of a programme whose rules may be changed.
async fn lock_programme(tx: &mut Conn, id: Uuid, action: &'static str) -> Result<Programme, Error> {
    let found = store::lock_programme(tx, id).await?;
    let found = found.ok_or_else(|| programme_not_found(programme::name(id)))?;
    found.may_change(action)?;
    Ok(found)
}

async fn show(conn: &mut Conn, rule: &Rule) -> Result<proto::EarningRule, Error> {
    let left = store::find_budgets(conn, &BTreeSet::from([rule.id])).await?;
    Ok(convert::answer(rule, left.get(&rule.id).map_or(0, Pot::left)))
}
