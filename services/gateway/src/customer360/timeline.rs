//! What happened with a customer, of all services, in one order.

use cqm_proto::complaints::v1::timeline_entry::Action;
use cqm_proto::complaints::v1::{Category, Complaint, Severity, TimelineEntry};
use cqm_proto::customers::v1::{Interaction, Purchase, interaction};
use cqm_proto::gateway::v1::{GetCustomer360Response, TimelineItem};
use cqm_proto::google::r#type::Money;
use cqm_proto::loyalty::v1::{Entry, entry};
use cqm_proto::notifications::v1::{Channel, FailureReason, Message, message};
use cqm_proto::surveys::v1::{Invitation, Response, invitation, response};
use prost_types::Timestamp;

use crate::backend::Backend;

/// The longest timeline of an answer, as the contract says.
const LONGEST: usize = 100;

/// The items of all sections, the newest first.
pub(super) fn of(answer: &GetCustomer360Response) -> Vec<TimelineItem> {
    let mut items = Vec::new();
    items.extend(answer.purchases.iter().flat_map(|section| &section.purchases).map(purchase));
    items.extend(answer.interactions.iter().flat_map(|section| &section.interactions).map(interaction));
    items.extend(answer.complaints.iter().flat_map(|section| &section.complaints).flat_map(complaint));
    items.extend(answer.surveys.iter().flat_map(|section| &section.invitations).map(invitation));
    items.extend(answer.surveys.iter().flat_map(|section| &section.responses).map(response));
    items.extend(answer.messages.iter().flat_map(|section| &section.messages).map(message));
    items.extend(answer.points.iter().flat_map(|section| &section.entries).map(entry));
    // What has no time cannot stand in an order.
    items.retain(|item| item.time.is_some());
    items.sort_by(|a, b| {
        let newest_first = moment(b).cmp(&moment(a));
        // Equal times in an order that is the same at every reading.
        newest_first.then_with(|| (&a.resource, &a.title).cmp(&(&b.resource, &b.title)))
    });
    items.truncate(LONGEST);
    items
}

fn moment(item: &TimelineItem) -> (i64, i32) {
    item.time.as_ref().map_or((0, 0), |time| (time.seconds, time.nanos))
}

fn item(
    backend: Backend,
    kind: &str,
    resource: &str,
    title: impl Into<String>,
    time: Option<&Timestamp>,
) -> TimelineItem {
    TimelineItem {
        time: time.copied(),
        source: backend.name().to_owned(),
        kind: kind.to_owned(),
        resource: resource.to_owned(),
        title: title.into(),
        ..Default::default()
    }
}

trait Facts: Sized {
    /// Adds a fact, unless there is none.
    fn fact(self, key: &str, value: impl ToString) -> Self;
}

impl Facts for TimelineItem {
    fn fact(mut self, key: &str, value: impl ToString) -> Self {
        let value = value.to_string();
        if !value.is_empty() {
            self.facts.insert(key.to_owned(), value);
        }
        self
    }
}

pub(super) fn purchase(purchase: &Purchase) -> TimelineItem {
    let time = purchase.purchase_time.as_ref();
    let item = item(Backend::CustomerData, "purchase", &purchase.name, "PURCHASE_RECORDED", time);
    let item = item.fact("quantity", purchase.quantity);
    match &purchase.amount {
        Some(money) => item.fact("amount", amount(money)).fact("currency", &money.currency_code),
        None => item,
    }
}

pub(super) fn interaction(interaction: &Interaction) -> TimelineItem {
    let kind = short::<interaction::Kind>(interaction.kind, interaction::Kind::as_str_name, "KIND_");
    let channel =
        short::<interaction::Channel>(interaction.channel, interaction::Channel::as_str_name, "CHANNEL_");
    let time = interaction.occur_time.as_ref();
    item(Backend::CustomerData, "interaction", &interaction.name, format!("INTERACTION_{kind}"), time)
        .fact("channel", channel)
        .fact("subject", &interaction.subject)
}

/// One item for each step that the complaint itself shows.
fn complaint(complaint: &Complaint) -> Vec<TimelineItem> {
    let step = |title, time| {
        item(Backend::Complaints, "complaint", &complaint.name, title, time)
            .fact("reference", &complaint.reference)
    };
    let registered = step("COMPLAINT_REGISTERED", complaint.create_time.as_ref())
        .fact("category", short::<Category>(complaint.category, Category::as_str_name, "CATEGORY_"))
        .fact("severity", short::<Severity>(complaint.severity, Severity::as_str_name, "SEVERITY_"));
    let mut steps = vec![
        registered,
        step("COMPLAINT_ACKNOWLEDGED", complaint.acknowledge_time.as_ref()),
        step("COMPLAINT_CLOSED", complaint.close_time.as_ref()),
    ];
    if let Some(resolution) = &complaint.resolution {
        let resolved = step("COMPLAINT_RESOLVED", resolution.resolve_time.as_ref())
            .fact("resolution_version", resolution.version);
        steps.push(match resolution.compensation_points {
            0 => resolved,
            points => resolved.fact("compensation_points", points),
        });
    }
    steps
}

/// A step as the complaint's own timeline has it.
pub(super) fn step(entry: &TimelineEntry) -> TimelineItem {
    let action = short::<Action>(entry.action, Action::as_str_name, "ACTION_");
    let complaint = entry.name.split("/timeline/").next().unwrap_or_default();
    let title = format!("COMPLAINT_{action}");
    let mut item = item(Backend::Complaints, "complaint", complaint, title, entry.time.as_ref());
    item.facts.clone_from(&entry.facts);
    item
}

pub(super) fn invitation(invitation: &Invitation) -> TimelineItem {
    let state = short::<invitation::State>(invitation.state, invitation::State::as_str_name, "STATE_");
    let time = invitation.create_time.as_ref();
    item(Backend::Surveys, "invitation", &invitation.name, "INVITATION_CREATED", time)
        .fact("subject", &invitation.subject)
        .fact("state", state)
}

pub(super) fn response(response: &Response) -> TimelineItem {
    let mode = short::<response::Mode>(response.mode, response::Mode::as_str_name, "MODE_");
    item(Backend::Surveys, "response", &response.name, "RESPONSE_ACCEPTED", response.create_time.as_ref())
        .fact("subject", &response.subject)
        .fact("dissatisfied", response.dissatisfied)
        .fact("mode", mode)
}

/// A message stands where it began, and tells how it is with it now: its list is in that order.
pub(super) fn message(message: &Message) -> TimelineItem {
    let state = short::<message::State>(message.state, message::State::as_str_name, "STATE_");
    let channel = short::<Channel>(message.channel, Channel::as_str_name, "CHANNEL_");
    let time = message.create_time.as_ref();
    let item = item(Backend::Notifications, "message", &message.name, format!("MESSAGE_{state}"), time)
        .fact("template", &message.template)
        .fact("channel", channel)
        .fact("about", &message.about);
    match message.failure_reason {
        0 => item,
        reason => item.fact(
            "failure_reason",
            short::<FailureReason>(reason, FailureReason::as_str_name, "FAILURE_REASON_"),
        ),
    }
}

pub(super) fn entry(entry: &Entry) -> TimelineItem {
    let title = match entry::Kind::try_from(entry.kind) {
        Ok(entry::Kind::Earn) => "POINTS_EARNED",
        Ok(entry::Kind::Redeem) => "POINTS_REDEEMED",
        _ => "POINTS_ADJUSTED",
    };
    item(Backend::Loyalty, "points", &entry.name, title, entry.create_time.as_ref())
        .fact("points", entry.points)
        .fact("balance_after", entry.balance_after)
        .fact("reason", short::<entry::Reason>(entry.reason, entry::Reason::as_str_name, "REASON_"))
        .fact("source", &entry.source)
}

/// An enum's value without its prefix; the number when this version does not know it.
fn short<E: TryFrom<i32>>(number: i32, name: fn(&E) -> &'static str, prefix: &str) -> String {
    match E::try_from(number) {
        Ok(value) => name(&value).trim_start_matches(prefix).to_owned(),
        Err(_) => number.to_string(),
    }
}

/// `12.5` for 12 units and 500,000,000 nanos.
fn amount(money: &Money) -> String {
    let sign = if money.units < 0 || money.nanos < 0 { "-" } else { "" };
    let fraction = format!("{:09}", money.nanos.unsigned_abs());
    let fraction = fraction.trim_end_matches('0');
    let dot = if fraction.is_empty() { "" } else { "." };
    format!("{sign}{}{dot}{fraction}", money.units.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use cqm_proto::complaints::v1::Resolution;
    use cqm_proto::gateway::v1::{
        ComplaintsSection, InteractionsSection, MessagesSection, PointsSection, PurchasesSection,
        SurveysSection,
    };

    use super::*;

    fn at(seconds: i64) -> Option<Timestamp> {
        Some(Timestamp { seconds, nanos: 0 })
    }

    fn lines(answer: &GetCustomer360Response) -> Vec<String> {
        let line = |item: &TimelineItem| {
            let facts: Vec<String> = item.facts.iter().map(|(key, value)| format!("{key}={value}")).collect();
            format!(
                "{} {} {} {} [{}]",
                moment(item).0,
                item.source,
                item.title,
                item.resource,
                facts.join(" ")
            )
        };
        of(answer).iter().map(line).collect()
    }

    #[test]
    fn all_services_stand_in_one_order_the_newest_first() {
        let answer = GetCustomer360Response {
            purchases: Some(PurchasesSection {
                purchases: vec![Purchase {
                    name: "p/1".into(),
                    purchase_time: at(10),
                    quantity: 2,
                    amount: Some(Money { currency_code: "CNY".into(), units: 12, nanos: 500_000_000 }),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            interactions: Some(InteractionsSection {
                interactions: vec![Interaction {
                    name: "i/1".into(),
                    kind: interaction::Kind::Enquiry.into(),
                    channel: interaction::Channel::Phone.into(),
                    occur_time: at(20),
                    summary: "planted".into(),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            complaints: Some(ComplaintsSection {
                complaints: vec![Complaint {
                    name: "complaints/1".into(),
                    reference: "C-1".into(),
                    category: Category::Logistics.into(),
                    severity: Severity::High.into(),
                    subject: "planted".into(),
                    create_time: at(30),
                    acknowledge_time: at(40),
                    resolution: Some(Resolution {
                        summary: "planted".into(),
                        compensation_points: 100,
                        resolve_time: at(50),
                        version: 1,
                    }),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            surveys: Some(SurveysSection {
                invitations: vec![Invitation {
                    name: "invitations/1".into(),
                    subject: "complaints/1".into(),
                    state: invitation::State::Answered.into(),
                    create_time: at(51),
                    ..Default::default()
                }],
                responses: vec![Response {
                    name: "responses/1".into(),
                    subject: "complaints/1".into(),
                    dissatisfied: true,
                    mode: response::Mode::Online.into(),
                    create_time: at(60),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            messages: Some(MessagesSection {
                messages: vec![
                    Message {
                        name: "messages/1".into(),
                        template: "templates/complaint-acknowledged".into(),
                        channel: Channel::Email.into(),
                        about: "complaints/1".into(),
                        state: message::State::Failed.into(),
                        failure_reason: FailureReason::AddressMissing.into(),
                        create_time: at(31),
                        finish_time: at(45),
                        ..Default::default()
                    },
                    Message {
                        name: "messages/2".into(),
                        state: 99,
                        create_time: at(52),
                        ..Default::default()
                    },
                ],
                ..Default::default()
            }),
            points: Some(PointsSection {
                entries: vec![Entry {
                    name: "members/1/entries/1".into(),
                    kind: entry::Kind::Earn.into(),
                    points: 12,
                    balance_after: 12,
                    reason: entry::Reason::Purchase.into(),
                    source: "p/1".into(),
                    create_time: at(10),
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        };
        assert_eq!(
            lines(&answer),
            [
                "60 surveys RESPONSE_ACCEPTED responses/1 [dissatisfied=true mode=ONLINE subject=complaints/1]",
                "52 notifications MESSAGE_99 messages/2 [channel=UNSPECIFIED]",
                "51 surveys INVITATION_CREATED invitations/1 [state=ANSWERED subject=complaints/1]",
                "50 complaints COMPLAINT_RESOLVED complaints/1 [compensation_points=100 reference=C-1 resolution_version=1]",
                "40 complaints COMPLAINT_ACKNOWLEDGED complaints/1 [reference=C-1]",
                "31 notifications MESSAGE_FAILED messages/1 [about=complaints/1 channel=EMAIL \
                 failure_reason=ADDRESS_MISSING template=templates/complaint-acknowledged]",
                "30 complaints COMPLAINT_REGISTERED complaints/1 [category=LOGISTICS reference=C-1 severity=HIGH]",
                "20 customer-data INTERACTION_ENQUIRY i/1 [channel=PHONE]",
                "10 loyalty POINTS_EARNED members/1/entries/1 [balance_after=12 points=12 reason=PURCHASE source=p/1]",
                "10 customer-data PURCHASE_RECORDED p/1 [amount=12.5 currency=CNY quantity=2]",
            ]
        );
        assert!(lines(&answer).iter().all(|line| !line.contains("planted")), "personal text is no fact");
    }

    #[test]
    fn a_long_life_is_cut_at_its_newest_end() {
        let purchases = (0..500)
            .map(|n| Purchase { name: n.to_string(), purchase_time: at(n), ..Default::default() })
            .collect();
        let answer = GetCustomer360Response {
            purchases: Some(PurchasesSection { purchases, ..Default::default() }),
            ..Default::default()
        };
        let items = of(&answer);
        assert_eq!(items.len(), 100);
        assert_eq!((items[0].resource.as_str(), items[99].resource.as_str()), ("499", "400"));
    }

    #[test]
    fn money_is_written_as_a_number() {
        for (units, nanos, text) in [
            (12, 500_000_000, "12.5"),
            (0, 10_000_000, "0.01"),
            (7, 0, "7"),
            (-1, -250_000_000, "-1.25"),
            (0, 0, "0"),
        ] {
            assert_eq!(amount(&Money { currency_code: String::new(), units, nanos }), text);
        }
    }
}
