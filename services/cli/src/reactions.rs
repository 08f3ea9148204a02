//! How far the coordinator has got, and what is to become of what it could not do.

use anyhow::{Context, Result};
use chrono::DateTime;
use clap::{Args, Subcommand};
use cqm_proto::events::v1::{Event, ParkedAggregate};
use cqm_proto::gateway::v1::coordinator_service_client::CoordinatorServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{
    DiscardParkedEventRequest, GetParkedAggregateRequest, GetParkedAggregateResponse,
    ListParkedAggregatesRequest, ListSourcesRequest, ParkedItem, RetryParkedAggregateRequest, Source,
};
use prost_reflect::{DescriptorPool, DynamicMessage};
use prost_types::Timestamp;

use crate::connect::{Client, Target};

#[derive(Subcommand)]
pub enum Action {
    /// How far the coordinator has got with each service, and which process reads
    Sources,
    /// What is parked, the longest first
    List {
        /// Only what is parked of this service, such as complaints
        #[arg(long, default_value = "")]
        source: String,
    },
    /// One parked aggregate: why, the event that could not be handled, and those that wait behind it
    Show(Parked),
    /// Have it tried again, from the event that failed
    Retry(Parked),
    /// Have the event that failed left out for good, and those behind it tried
    Discard {
        #[command(flatten)]
        parked: Parked,
        /// The event's id, as `show` prints it: the decision is about this event and no other
        #[arg(long)]
        event: String,
    },
}

#[derive(Args)]
pub struct Parked {
    /// The service, such as complaints
    source: String,
    /// The aggregate's resource name, such as complaints/0190a5d2-0000-7000-8000-000000000001
    aggregate: String,
}

pub async fn run(target: &Target, action: Action) -> Result<()> {
    let mut service = CoordinatorServiceClient::new(target.client()?);
    match action {
        Action::Sources => {
            for source in service.list_sources(ListSourcesRequest {}).await?.into_inner().sources {
                println!("{}", progress(&source));
            }
        }
        Action::List { source } => list(&mut service, source).await?,
        Action::Show(Parked { source, aggregate }) => {
            let ask = GetParkedAggregateRequest { source, aggregate };
            print!("{}", page(&service.get_parked_aggregate(ask).await?.into_inner())?);
        }
        Action::Retry(Parked { source, aggregate }) => {
            let ask = RetryParkedAggregateRequest { source, aggregate };
            println!("{}", decided(&service.retry_parked_aggregate(ask).await?.into_inner()));
        }
        Action::Discard { parked: Parked { source, aggregate }, event } => {
            let ask = DiscardParkedEventRequest { source, aggregate, event_id: event };
            println!("{}", decided(&service.discard_parked_event(ask).await?.into_inner()));
        }
    }
    Ok(())
}

async fn list(service: &mut CoordinatorServiceClient<Client>, source: String) -> Result<()> {
    let mut ask = ListParkedAggregatesRequest { source, ..Default::default() };
    loop {
        let found = service.list_parked_aggregates(ask.clone()).await?.into_inner();
        for item in &found.parked_items {
            println!("{}", line(item));
        }
        for source in &found.unreachable_sources {
            println!("{source}\tdoes not answer");
        }
        if found.next_page_token.is_empty() {
            return Ok(());
        }
        ask.page_token = found.next_page_token;
    }
}

fn progress(source: &Source) -> String {
    let Source { source: name, status, position, head_position, lag, reader, .. } = source;
    match status {
        Some(status) if status.state() != State::Ok => format!("{name}\tdoes not answer: {}", status.reason),
        _ => {
            let reader = if reader.is_empty() { "nobody" } else { reader };
            format!("{name}\t{position} of {head_position}, {lag} behind, read by {reader}")
        }
    }
}

fn line(item: &ParkedItem) -> String {
    let parked = item.parked_aggregate.clone().unwrap_or_default();
    format!(
        "{}\t{}\t{}\t{} after {} tries\t{} waiting\tsince {}\t{}",
        item.source,
        parked.aggregate,
        short(&parked.r#type),
        parked.reason,
        parked.attempts,
        parked.waiting_events,
        time(parked.park_time.as_ref()),
        state(&parked)
    )
}

fn page(found: &GetParkedAggregateResponse) -> Result<String> {
    let parked = found.parked_aggregate.clone().unwrap_or_default();
    let reactions = if found.reactions.is_empty() {
        "none: this version of the coordinator does not know the event".to_owned()
    } else {
        found.reactions.join(", ")
    };
    let mut page = format!(
        "{} of {}\n  parked     {}\n  state      {}\n  reason     {} {}\n  tries      {}\n  reactions  {reactions}\n",
        parked.aggregate,
        found.source,
        time(parked.park_time.as_ref()),
        state(&parked),
        parked.reason,
        parked.detail_code,
        parked.attempts
    );
    for event in &found.events {
        page.push_str(&written(event)?);
    }
    Ok(page)
}

/// An event as it stands in the log. Events hold no personal data.
fn written(event: &Event) -> Result<String> {
    let pool = DescriptorPool::decode(cqm_proto::FILE_DESCRIPTOR_SET)
        .context("the contracts describe themselves")?;
    let payload = match pool.get_message_by_name(&event.r#type) {
        Some(kind) => match DynamicMessage::decode(kind, event.payload.clone()) {
            Ok(message) => message.to_string(),
            Err(_) => "is no message of this type".to_owned(),
        },
        None => format!("{} bytes of a type that is not known here", event.payload.len()),
    };
    Ok(format!(
        "event {}\n  position   {}\n  type       {}\n  happened   {}\n  payload    {payload}\n",
        event.event_id,
        event.position,
        event.r#type,
        time(event.occur_time.as_ref())
    ))
}

fn decided(parked: &ParkedAggregate) -> String {
    format!("{} is {}", parked.aggregate, state(parked))
}

fn state(parked: &ParkedAggregate) -> &'static str {
    parked.state().as_str_name().trim_start_matches("STATE_")
}

fn short(event_type: &str) -> &str {
    event_type.rsplit('.').next().unwrap_or(event_type)
}

fn time(time: Option<&Timestamp>) -> String {
    let time = time.and_then(|time| DateTime::from_timestamp(time.seconds, 0));
    time.map(|time| time.format("%Y-%m-%dT%H:%M:%SZ").to_string()).unwrap_or_default()
}
