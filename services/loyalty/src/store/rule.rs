//! Earning rules.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use cqm_db::{Conn, known, statement};
use cqm_rpc::Error;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;
use uuid::Uuid;

use super::programme::ProgrammeRow;
use crate::domain::programme::{Programme, Window};
use crate::domain::rules::{Conditions, Effect, InForce, Limit, Period, Rule, Trigger};
use crate::domain::text::Text;
use crate::schema::earning_rule;

#[derive(Queryable, QueryableByName, Selectable, Insertable, AsChangeset)]
#[diesel(table_name = earning_rule, treat_none_as_null = true)]
struct RuleRow {
    id: Uuid,
    programme_id: Uuid,
    name_zh: String,
    name_en: String,
    trigger: String,
    start_time: Option<DateTime<Utc>>,
    end_time: Option<DateTime<Utc>>,
    sales_channels: Vec<String>,
    product_codes: Vec<String>,
    tiers: Vec<Uuid>,
    segments: Vec<String>,
    minimum_units: i64,
    effect: String,
    effect_amount: i64,
    delay_s: Option<i64>,
    lifetime_s: Option<i64>,
    budget: Option<i64>,
    cap_points: Option<i64>,
    cap_period: Option<String>,
    velocity_awards: Option<i64>,
    velocity_period: Option<String>,
    version: i64,
    create_time: DateTime<Utc>,
    update_time: DateTime<Utc>,
}

pub async fn insert_rule(tx: &mut Conn, rule: &Rule) -> Result<(), Error> {
    diesel::insert_into(earning_rule::table).values(RuleRow::of(rule)).execute(tx).await?;
    Ok(())
}

/// Writes what has changed of a locked rule.
pub async fn update_rule(tx: &mut Conn, rule: &Rule) -> Result<(), Error> {
    diesel::update(earning_rule::table.find(rule.id)).set(RuleRow::of(rule)).execute(tx).await?;
    Ok(())
}

pub async fn find_rule(conn: &mut Conn, id: Uuid) -> Result<Option<Rule>, Error> {
    let row: Option<RuleRow> =
        earning_rule::table.find(id).select(RuleRow::as_select()).first(conn).await.optional()?;
    row.map(RuleRow::into_domain).transpose()
}

/// Reads a rule and takes its lock.
pub async fn lock_rule(tx: &mut Conn, id: Uuid) -> Result<Option<Rule>, Error> {
    let row: Option<RuleRow> =
        earning_rule::table.find(id).select(RuleRow::as_select()).for_update().first(tx).await.optional()?;
    row.map(RuleRow::into_domain).transpose()
}

/// How many rules a programme has; exact under its lock.
pub async fn count_rules(conn: &mut Conn, programme: Uuid) -> Result<i64, Error> {
    let rules = earning_rule::table.filter(earning_rule::programme_id.eq(programme));
    Ok(rules.count().get_result(conn).await?)
}

/// Pages through rules, the newest first, `after` the last of the page before.
pub async fn list_rules(
    conn: &mut Conn,
    programme: Option<Uuid>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Rule>, Error> {
    let mut query = earning_rule::table
        .select(RuleRow::as_select())
        .order(earning_rule::id.desc())
        .limit(limit)
        .into_boxed();
    if let Some(programme) = programme {
        query = query.filter(earning_rule::programme_id.eq(programme));
    }
    if let Some(after) = after {
        query = query.filter(earning_rule::id.lt(after));
    }
    query.load::<RuleRow>(conn).await?.into_iter().map(RuleRow::into_domain).collect()
}

/// The rules of all programmes that are active or paused, in the order of their ids. There are no more than
/// `MOST_RUNNING` × `MOST_RULES`, which is seen to when they are made.
pub async fn rules_in_force(mut conn: &Conn) -> Result<Vec<InForce>, Error> {
    let mut second = conn;
    let programmes = statement("SELECT * FROM programme WHERE state IN ('ACTIVE', 'PAUSED')")
        .load::<ProgrammeRow>(&mut conn);
    let rules = statement(
        "SELECT * FROM earning_rule
         WHERE programme_id IN (SELECT id FROM programme WHERE state IN ('ACTIVE', 'PAUSED'))
         ORDER BY id",
    )
    .load::<RuleRow>(&mut second);
    let (programmes, rules) = futures::join!(programmes, rules);
    let mut known: HashMap<Uuid, Arc<Programme>> = HashMap::new();
    for row in programmes? {
        let programme = row.into_domain()?;
        known.insert(programme.id, Arc::new(programme));
    }
    let mut in_force = Vec::new();
    for row in rules? {
        let rule = row.into_domain()?;
        // Of a programme that was turned on between the two statements the next look finds the rules.
        if let Some(programme) = known.get(&rule.programme) {
            in_force.push(InForce { programme: Arc::clone(programme), rule });
        }
    }
    Ok(in_force)
}

impl RuleRow {
    fn of(it: &Rule) -> Self {
        let (effect, effect_amount) = match it.effect {
            Effect::PerUnit(amount) => ("PER_UNIT", amount),
            Effect::Fixed(amount) => ("FIXED", amount),
            Effect::Multiplier(amount) => ("MULTIPLIER", amount),
        };
        let seconds = |span: Option<TimeDelta>| span.map(|span| span.num_seconds());
        let most = |limit: Option<Limit>| limit.map(|limit| limit.most);
        let period = |limit: Option<Limit>| limit.map(|limit| limit.period.name().to_owned());
        Self {
            id: it.id,
            programme_id: it.programme,
            name_zh: it.display_name.zh.clone(),
            name_en: it.display_name.en.clone(),
            trigger: it.trigger.name().to_owned(),
            start_time: it.window.start,
            end_time: it.window.end,
            sales_channels: it.conditions.channels.clone(),
            product_codes: it.conditions.products.clone(),
            tiers: it.conditions.tiers.clone(),
            segments: it.conditions.segments.clone(),
            minimum_units: it.conditions.minimum_units,
            effect: effect.to_owned(),
            effect_amount,
            delay_s: seconds(it.delay),
            lifetime_s: seconds(it.lifetime),
            budget: it.budget,
            cap_points: most(it.cap),
            cap_period: period(it.cap),
            velocity_awards: most(it.velocity),
            velocity_period: period(it.velocity),
            version: it.version,
            create_time: it.create_time,
            update_time: it.update_time,
        }
    }

    fn into_domain(self) -> Result<Rule, Error> {
        let amount = self.effect_amount;
        let effect = known("earning_rule.effect", &self.effect, |word| match word {
            "PER_UNIT" => Some(Effect::PerUnit(amount)),
            "FIXED" => Some(Effect::Fixed(amount)),
            "MULTIPLIER" => Some(Effect::Multiplier(amount)),
            _ => None,
        })?;
        let limit = |column: &str, most: Option<i64>, period: Option<String>| {
            most.zip(period)
                .map(|(most, period)| {
                    Ok::<_, Error>(Limit { most, period: known(column, &period, Period::find)? })
                })
                .transpose()
        };
        Ok(Rule {
            id: self.id,
            programme: self.programme_id,
            display_name: Text { zh: self.name_zh, en: self.name_en },
            trigger: known("earning_rule.trigger", &self.trigger, Trigger::find)?,
            window: Window { start: self.start_time, end: self.end_time },
            conditions: Conditions {
                channels: self.sales_channels,
                products: self.product_codes,
                tiers: self.tiers,
                segments: self.segments,
                minimum_units: self.minimum_units,
            },
            effect,
            delay: self.delay_s.map(TimeDelta::seconds),
            lifetime: self.lifetime_s.map(TimeDelta::seconds),
            budget: self.budget,
            cap: limit("earning_rule.cap_period", self.cap_points, self.cap_period)?,
            velocity: limit("earning_rule.velocity_period", self.velocity_awards, self.velocity_period)?,
            version: self.version,
            create_time: self.create_time,
            update_time: self.update_time,
        })
    }
}
