//! What the demo shows at the end.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use chrono::DateTime;
use cqm_proto::gateway::v1::customer360_service_client::Customer360ServiceClient;
use cqm_proto::gateway::v1::section_status::State;
use cqm_proto::gateway::v1::{GetCustomer360Request, SectionStatus};

use super::again;
use super::story::Told;
use crate::connect::Target;

/// Profile, points and the timeline across the services.
pub async fn customer360(target: &Target, told: &Told) -> Result<()> {
    let request = GetCustomer360Request { customer: told.customer.clone(), ..Default::default() };
    let service = Customer360ServiceClient::new(target.client()?);
    let view = again(|| {
        let (mut service, request) = (service.clone(), request.clone());
        async move { service.get_customer360(request).await }
    })
    .await?;
    let sections: [(&str, Option<&SectionStatus>, String); 6] = [
        (
            "profile",
            view.profile.as_ref().and_then(|s| s.status.as_ref()),
            view.profile
                .as_ref()
                .and_then(|s| s.customer.as_ref())
                .map(|c| format!("{} ({})", c.display_name, c.locale))
                .unwrap_or_default(),
        ),
        (
            "purchases",
            view.purchases.as_ref().and_then(|s| s.status.as_ref()),
            format!("{}", view.purchases.as_ref().map_or(0, |s| s.purchases.len())),
        ),
        (
            "complaints",
            view.complaints.as_ref().and_then(|s| s.status.as_ref()),
            view.complaints.as_ref().map_or_else(String::new, |s| {
                let one = |c: &cqm_proto::complaints::v1::Complaint| {
                    let state = c.state().as_str_name().trim_start_matches("STATE_").to_lowercase();
                    format!("{} {state}, reopened {}", c.reference, c.reopen_count)
                };
                s.complaints.iter().map(one).collect::<Vec<_>>().join("; ")
            }),
        ),
        (
            "surveys",
            view.surveys.as_ref().and_then(|s| s.status.as_ref()),
            view.surveys.as_ref().map_or_else(String::new, |s| {
                format!("{} invitations, {} answers", s.invitations.len(), s.responses.len())
            }),
        ),
        (
            "messages",
            view.messages.as_ref().and_then(|s| s.status.as_ref()),
            format!("{}", view.messages.as_ref().map_or(0, |s| s.messages.len())),
        ),
        (
            "points",
            view.points.as_ref().and_then(|s| s.status.as_ref()),
            view.points
                .as_ref()
                .and_then(|s| s.account.as_ref())
                .map(|a| format!("{} available, {} earned", a.available, a.lifetime_earned))
                .unwrap_or_default(),
        ),
    ];
    for (name, status, text) in sections {
        let state = match status.map(|status| status.state()) {
            Some(State::Ok) => "ok".to_owned(),
            other => format!("{other:?}: {}", status.map_or("", |status| status.reason.as_str())),
        };
        println!("   {name:<12} {state:<6} {text}");
    }
    println!("\n   the timeline, newest first");
    for item in &view.timeline {
        let time = item
            .time
            .and_then(|time| DateTime::from_timestamp(time.seconds, time.nanos.unsigned_abs()))
            .map(|time| time.format("%H:%M:%S%.3f").to_string())
            .unwrap_or_default();
        let facts: Vec<String> = item.facts.iter().map(|(key, value)| format!("{key} {value}")).collect();
        println!("   {time}  {:<14} {:<22} {}", item.source, item.kind, facts.join(", "));
    }
    Ok(())
}

/// The files that the suite's mailbox has for these customers.
pub fn mails(folder: &Path, told: &[&Told]) -> Result<()> {
    for told in told {
        let mut count = 0;
        for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "eml")
                && std::fs::read_to_string(&path)?.contains(&told.address)
            {
                println!("   {}", path.display());
                count += 1;
            }
        }
        ensure!(count > 0, "there is no mail for {} in {}", told.customer, folder.display());
    }
    Ok(())
}
