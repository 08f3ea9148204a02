//! Templates that are refused.

use cqm_proto::notifications::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use tonic::Code;

use crate::desk::*;
use crate::templates::{contents, create, greeting};

#[tokio::test]
async fn texts_that_could_not_be_filled_in_are_refused_where_they_fail() {
    let mut desk = Desk::open().await;
    let deep = "{% if topic %}".repeat(9) + &"{% endif %}".repeat(9);
    let large = "x".repeat(20_001);
    for (subject, body, position, problem) in [
        ("x", "{{ nobody }}", "contents.zh-CN.body:1:1", "UNKNOWN_VARIABLE"),
        ("x", "一行\n二行 {{ topic", "contents.zh-CN.body:2:4", "SYNTAX"),
        ("{% for x in topic %}{% endfor %}", "x", "contents.zh-CN.subject:1:1", "SYNTAX"),
        ("x", "{{ topic * 9 }}", "contents.zh-CN.body:1:1", "SYNTAX"),
        ("x", deep.as_str(), "contents.zh-CN.body:1:113", "TOO_DEEP"),
        ("x", large.as_str(), "contents.zh-CN.body:1:20001", "TOO_LARGE"),
    ] {
        let template = Template { contents: contents(&[("zh-CN", subject, body)]), ..greeting() };
        let answer = desk.templates.create_template(manager(create(template))).await;
        let failure = refused(answer, Code::InvalidArgument, "TEMPLATE_INVALID");
        assert_eq!(failure.domain, "cqm.notifications.v1");
        assert_eq!(
            (failure.facts["position"].as_str(), failure.facts["problem"].as_str()),
            (position, problem)
        );
    }
    assert_eq!(desk.kit.count("templates").await, 3);
}

#[tokio::test]
async fn everything_wrong_with_a_template_is_said_at_once() {
    let mut desk = Desk::open().await;
    let wrong = Template {
        name: "templates/Große".to_owned(),
        contents: contents(&[("en", "two\nlines", "a\0b"), ("fr", "Salut", "Salut")]),
        variables: ["Topic", "customer_name", "a", "a", "true"].map(str::to_owned).to_vec(),
        channels: vec![1, 1, 7],
        ..Default::default()
    };
    let found = violations(desk.templates.create_template(manager(create(wrong))).await);
    let expected = [
        "template.name FIELD_FORMAT",
        "template.contents.zh-CN FIELD_REQUIRED",
        "template.contents.en.subject FORBIDDEN_CHARACTER",
        "template.contents.en.body FORBIDDEN_CHARACTER",
        "template.contents.fr FIELD_FORMAT",
        "template.variables[0] FIELD_FORMAT",
        "template.variables[1] FIELD_FORMAT",
        "template.variables[3] FIELD_FORMAT",
        "template.variables[4] FIELD_FORMAT",
        "template.channels[1] FIELD_FORMAT",
        "template.channels[2] ENUM_UNKNOWN",
    ];
    assert_eq!(found, expected);
    for (template, field, reason) in [
        (None, "template", "FIELD_REQUIRED"),
        (Some(Template { name: String::new(), ..greeting() }), "template.name", "FIELD_REQUIRED"),
        (
            Some(Template { variables: (0..51).map(|n| format!("v{n}")).collect(), ..greeting() }),
            "template.variables",
            "FIELD_TOO_LONG",
        ),
    ] {
        let call = CreateTemplateRequest { template, request_id: String::new() };
        assert_eq!(
            violations(desk.templates.create_template(manager(call)).await),
            [format!("{field} {reason}")]
        );
    }
    let malformed = CreateTemplateRequest { request_id: "x".to_owned(), ..create(greeting()) };
    let found = violations(desk.templates.create_template(manager(malformed)).await);
    assert_eq!(found, ["request_id REQUEST_ID_FORMAT"]);
    refused(
        desk.templates.create_template(request(Role::Supervisor, create(greeting()))).await,
        Code::PermissionDenied,
        "ROLE_MISSING",
    );
}

#[tokio::test]
async fn the_largest_template_fits_and_wrong_reads_are_refused() {
    let mut desk = Desk::open().await;
    let body = "满".repeat(20_000);
    let largest = Template { contents: contents(&[("zh-CN", "x", &body), ("en", "x", &body)]), ..greeting() };
    let made = desk.templates.create_template(manager(create(largest))).await.unwrap().into_inner();
    assert_eq!(made.contents["zh-CN"].body, body);
    for (name, code, reason) in [
        ("", Code::InvalidArgument, "FIELD_REQUIRED"),
        ("greeting", Code::InvalidArgument, "FIELD_FORMAT"),
        ("templates/nothing", Code::NotFound, "TEMPLATE_NOT_FOUND"),
    ] {
        let get = GetTemplateRequest { name: name.to_owned() };
        refused(desk.templates.get_template(representative(get)).await, code, reason);
    }
    for (list, field, reason) in [
        (ListTemplatesRequest { page_size: -1, ..Default::default() }, "page_size", "FIELD_RANGE"),
        (
            ListTemplatesRequest { page_token: "x".to_owned(), page_size: 0 },
            "page_token",
            "PAGE_TOKEN_INVALID",
        ),
    ] {
        let found = violations(desk.templates.list_templates(representative(list)).await);
        assert_eq!(found, [format!("{field} {reason}")]);
    }
}
