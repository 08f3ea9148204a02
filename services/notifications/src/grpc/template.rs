//! The handlers of `TemplateService`.

use cqm_proto::notifications::v1 as proto;
use cqm_rpc::{Call, Error, Etag};

use super::convert::template as convert;
use crate::App;
use crate::store::templates;

pub(super) async fn create(
    app: &App,
    call: Call,
    message: proto::CreateTemplateRequest,
) -> Result<proto::Template, Error> {
    let draft = convert::create(&message)?;
    app.db
        .mutate(&call, "create_template", &message, async |tx| {
            let template = draft.clone().at(app.clock.now());
            templates::insert(tx, &template).await?;
            Ok(convert::answer(&template))
        })
        .await
}

pub(super) async fn get(
    app: &App,
    call: Call,
    message: proto::GetTemplateRequest,
) -> Result<proto::Template, Error> {
    let key = convert::name(&message.name)?;
    let template = app.db.read(&call, "get_template", async |conn| templates::get(conn, &key).await).await?;
    Ok(convert::answer(&template))
}

pub(super) async fn list(
    app: &App,
    call: Call,
    message: proto::ListTemplatesRequest,
) -> Result<proto::ListTemplatesResponse, Error> {
    let mut page = convert::list(&message)?;
    let after = page.after.clone().unwrap_or_default();
    let found = app
        .db
        .read(&call, "list_templates", async |conn| templates::list(conn, &after, page.limit()).await)
        .await?;
    let found: Vec<_> = found.iter().map(convert::answer).collect();
    page.shorten(&found);
    let page = page.page(found, convert::page_key);
    Ok(proto::ListTemplatesResponse { templates: page.items, next_page_token: page.next_page_token })
}

pub(super) async fn update(
    app: &App,
    call: Call,
    message: proto::UpdateTemplateRequest,
) -> Result<proto::Template, Error> {
    let update = convert::update(&message)?;
    app.db
        .mutate(&call, "update_template", &message, async |tx| {
            let before = templates::lock(tx, &update.key).await?;
            Etag::check(update.etag, before.version, &update.key.to_string())?;
            let mut template = update.apply(&before);
            // Texts and variables may come from two calls: what counts is whether they fit together now.
            template.check()?;
            if template != before {
                template.version += 1;
                template.update_time = app.clock.now();
                templates::update(tx, &template).await?;
            }
            Ok(convert::answer(&template))
        })
        .await
}
