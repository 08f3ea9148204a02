//! Policies of service levels: published and read.

use cqm_proto::complaints::v1 as wire;
use cqm_rpc::{Call, Error};

use super::convert;
use crate::error::SLA_POLICY_NOT_FOUND;
use crate::{App, store};

pub async fn publish(
    app: &App,
    call: Call,
    message: wire::PublishSlaPolicyRequest,
) -> Result<wire::SlaPolicy, Error> {
    let command = convert::Publish::parse(&message)?;
    app.db
        .mutate(&call, "publish_sla_policy", &message, async |tx| {
            let version = store::policy::lock_next_version(tx).await?;
            let policy = command.at(version, app.clock.now());
            store::policy::insert(tx, &policy).await?;
            Ok(convert::policy(&policy))
        })
        .await
}

pub async fn get(
    app: &App,
    call: Call,
    message: wire::GetSlaPolicyRequest,
) -> Result<wire::SlaPolicy, Error> {
    let version = convert::policy_version(&message.name)?;
    let found =
        app.db.read(&call, "get_sla_policy", async |conn| store::policy::find(conn, version).await).await?;
    let policy = found.ok_or_else(|| Error::not_found(SLA_POLICY_NOT_FOUND, &message.name))?;
    Ok(convert::policy(&policy))
}

pub async fn list(
    app: &App,
    call: Call,
    message: wire::ListSlaPoliciesRequest,
) -> Result<wire::ListSlaPoliciesResponse, Error> {
    let mut page = convert::policy_list(&message)?;
    let (before, limit) = (page.after, page.limit());
    let found = app
        .db
        .read(&call, "list_sla_policies", async |conn| store::policy::list(conn, before, limit).await)
        .await?;
    let answers: Vec<wire::SlaPolicy> = found.iter().map(convert::policy).collect();
    // Policies may be as large as a message.
    page.shorten(&answers);
    let page = page.page(answers.into_iter().zip(found).collect(), |(_, policy)| policy.version);
    Ok(wire::ListSlaPoliciesResponse {
        sla_policies: page.items.into_iter().map(|(answer, _)| answer).collect(),
        next_page_token: page.next_page_token,
    })
}
