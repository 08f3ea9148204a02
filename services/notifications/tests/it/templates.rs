//! Templates.

use std::collections::BTreeMap;

use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::*;
use prost_types::FieldMask;
use tonic::Code;

use crate::desk::*;

fn content(subject: &str, body: &str) -> template::Content {
    template::Content { subject: subject.to_owned(), body: body.to_owned() }
}

pub fn contents(pairs: &[(&str, &str, &str)]) -> BTreeMap<String, template::Content> {
    pairs.iter().map(|(locale, subject, body)| ((*locale).to_owned(), content(subject, body))).collect()
}

pub fn greeting() -> Template {
    Template {
        name: "templates/greeting".to_owned(),
        contents: contents(&[
            ("zh-CN", "您好 {{ topic }}", "{{ customer_name }}，您好"),
            ("en", "Hi {{ topic }}", "Hi"),
        ]),
        variables: vec!["topic".to_owned()],
        channels: vec![Channel::InApp.into()],
        ..Default::default()
    }
}

pub fn create(template: Template) -> CreateTemplateRequest {
    CreateTemplateRequest { template: Some(template), request_id: String::new() }
}

fn update(template: Template, paths: &[&str]) -> UpdateTemplateRequest {
    UpdateTemplateRequest {
        template: Some(template),
        update_mask: Some(FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    }
}

async fn created(desk: &mut Desk) -> Template {
    desk.templates.create_template(manager(create(greeting()))).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_created_template_is_read_listed_and_used() {
    let mut desk = Desk::open().await;
    let made = created(&mut desk).await;
    assert_eq!(
        (&made.name, &made.contents, &made.variables, &made.channels),
        (&greeting().name, &greeting().contents, &greeting().variables, &greeting().channels)
    );
    assert_eq!((made.etag.as_str(), made.create_time.as_ref()), ("v1", made.update_time.as_ref()));
    let get = GetTemplateRequest { name: made.name.clone() };
    assert_eq!(desk.templates.get_template(representative(get)).await.unwrap().into_inner(), made);

    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let page = ListTemplatesRequest { page_size: 3, page_token: token };
        let page = desk.templates.list_templates(representative(page)).await.unwrap().into_inner();
        found.extend(page.templates.into_iter().map(|template| template.name));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let keys = ["complaint-acknowledged", "complaint-resolved", "greeting", "survey-invitation"];
    assert_eq!(found, keys.map(|key| format!("templates/{key}")));

    desk.put(li()).await;
    let call = SendMessageRequest {
        template: made.name,
        variables: values(&[("topic", "春节")]),
        about: String::new(),
        ..acknowledgement(LI)
    };
    let messages = desk.send(call).await;
    assert_eq!(messages.iter().map(Message::channel).collect::<Vec<_>>(), [Channel::InApp]);
    desk.reaches(&messages[0].name, State::Delivered).await;
    desk.delivered(&messages[0]).await;
    let item = desk.items(LI).await.remove(0);
    assert_eq!((item.subject.as_str(), item.body.as_str()), ("您好 春节", "李雷，您好"));
}

#[tokio::test]
async fn an_accepted_message_says_what_its_template_said_then() {
    let mut desk = Desk::open().await;
    let made = created(&mut desk).await;
    let call = SendMessageRequest {
        template: made.name.clone(),
        variables: values(&[("topic", "x")]),
        ..acknowledgement(JANE)
    };
    let message = desk.send(call).await.remove(0);
    let changed = Template {
        contents: contents(&[("zh-CN", "新", "新 {{ other }}")]),
        variables: vec!["other".to_owned()],
        ..made
    };
    desk.templates.update_template(manager(update(changed, &["*"]))).await.unwrap();
    desk.put(jane()).await;
    desk.reaches(&message.name, State::Delivered).await;
    desk.delivered(&message).await;
    assert_eq!(desk.items(JANE).await[0].subject, "Hi x");
}

#[tokio::test]
async fn updates_write_the_fields_of_the_mask() {
    let mut desk = Desk::open().await;
    let made = created(&mut desk).await;
    desk.kit.clock.advance(std::time::Duration::from_secs(1));
    // Absent mask: the populated fields.
    let only_channels = UpdateTemplateRequest {
        template: Some(Template {
            name: made.name.clone(),
            channels: vec![Channel::Email.into()],
            ..Default::default()
        }),
        etag: made.etag.clone(),
        ..Default::default()
    };
    let changed = desk.templates.update_template(manager(only_channels.clone())).await.unwrap().into_inner();
    assert_eq!((&changed.channels, &changed.contents), (&vec![Channel::Email.into()], &made.contents));
    assert_eq!(changed.etag, "v2");
    assert_ne!(changed.update_time, made.update_time);

    let stale = refused(
        desk.templates.update_template(manager(only_channels.clone())).await,
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    assert_eq!(stale.facts["name"], made.name);
    let same = UpdateTemplateRequest { etag: String::new(), ..only_channels };
    let same = desk.templates.update_template(manager(same)).await.unwrap().into_inner();
    assert_eq!(same, changed, "nothing changed, so there is no new version");

    // The texts still use the variable that this would take away.
    let without = Template { name: made.name.clone(), ..Default::default() };
    let failure = refused(
        desk.templates.update_template(manager(update(without, &["variables"]))).await,
        Code::InvalidArgument,
        "TEMPLATE_INVALID",
    );
    assert_eq!(failure.facts["position"], "contents.en.subject:1:4");

    for (paths, field) in [
        (&["name"][..], "update_mask.name"),
        (&["contents.en"], "update_mask.contents.en"),
        (&["channels", "*"], "update_mask.*"),
    ] {
        let found = violations(desk.templates.update_template(manager(update(greeting(), paths))).await);
        assert_eq!(found, [format!("{field} FIELD_FORMAT")]);
    }
    let emptied = Template { name: made.name.clone(), ..Default::default() };
    let found = violations(desk.templates.update_template(manager(update(emptied, &["*"]))).await);
    let expected = ["template.contents.zh-CN FIELD_REQUIRED", "template.channels FIELD_REQUIRED"];
    assert_eq!(found, expected);
    let nobodys = Template { name: "templates/nothing".to_owned(), ..greeting() };
    refused(
        desk.templates.update_template(manager(update(nobodys, &["*"]))).await,
        Code::NotFound,
        "TEMPLATE_NOT_FOUND",
    );
    let kept = desk
        .kit
        .rows("SELECT version::text AS row FROM template_texts WHERE template_key = 'greeting'")
        .await;
    assert_eq!(kept.len(), 2);
}

#[tokio::test]
async fn creation_is_repeatable_and_a_key_is_taken_once() {
    let mut desk = Desk::open().await;
    let call = CreateTemplateRequest { request_id: request_id(), ..create(greeting()) };
    let first = desk.templates.create_template(manager(call.clone())).await.unwrap().into_inner();
    desk.kit.clock.advance(std::time::Duration::from_secs(1));
    let second = desk.templates.create_template(manager(call.clone())).await.unwrap().into_inner();
    assert_eq!(bytes(&first), bytes(&second));
    let other = CreateTemplateRequest {
        template: Some(Template { name: "templates/other".to_owned(), ..greeting() }),
        ..call
    };
    refused(
        desk.templates.create_template(manager(other)).await,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
    );
    let again = refused(
        desk.templates.create_template(manager(create(greeting()))).await,
        Code::AlreadyExists,
        "TEMPLATE_EXISTS",
    );
    assert_eq!(again.facts["name"], "templates/greeting");
    let change = UpdateTemplateRequest {
        request_id: request_id(),
        ..update(Template { channels: vec![1], ..greeting() }, &["*"])
    };
    let first = desk.templates.update_template(manager(change.clone())).await.unwrap().into_inner();
    let second = desk.templates.update_template(manager(change)).await.unwrap().into_inner();
    assert_eq!(bytes(&first), bytes(&second));
    assert_eq!(first.etag, "v2");
}
