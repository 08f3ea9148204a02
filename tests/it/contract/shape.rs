//! Messages that can be read and say something impossible: all of it is told at once, by field.

use cqm_proto::complaints::v1::complaint::Channel;
use cqm_proto::complaints::v1::{
    Complaint, GetComplaintRequest, ListComplaintsRequest, ListTimelineRequest, PublishSlaPolicyRequest,
    RegisterComplaintRequest, ResolveComplaintRequest, SlaCalendar, SlaPolicy, SlaTarget,
};
use cqm_proto::customers::v1::{
    Address, CreateCustomerRequest, Customer, Email, ListCustomersRequest, Phone, UpdateCustomerRequest,
};
use cqm_proto::loyalty::v1::earn_points_request::Basis;
use cqm_proto::loyalty::v1::{CompensationBasis, EarnPointsRequest, ListMembersRequest, RedeemPointsRequest};
use cqm_proto::notifications::v1::template::Content;
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::notifications::v1::{Channel as Way, CreateTemplateRequest, Template};
use cqm_proto::surveys::v1::invitation_service_client::InvitationServiceClient;
use cqm_proto::surveys::v1::response_service_client::ResponseServiceClient;
use cqm_proto::surveys::v1::{CreateInvitationRequest, SummarizeResponsesRequest};
use cqm_rpc::Failure;
use prost_types::{FieldMask, Timestamp};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use super::{Desk, about, create, fresh, named, nobody, refused, register, told};

#[tokio::test(flavor = "multi_thread")]
async fn everything_that_is_wrong_with_a_message_is_told_at_once() {
    let desk = Desk::open().await;
    fields(&desk).await;
    no_more_than_headers_carry(&desk).await;
    characters(&desk).await;
    masks_and_orders(&desk).await;
    page_tokens(&desk).await;
    request_ids(&desk).await;
    templates(&desk).await;
    desk.close().await;
}

/// What is wrong with a message, each as `field REASON`. All of it counts; its order is nobody's promise.
#[track_caller]
fn violations<A: std::fmt::Debug>(outcome: Result<Response<A>, Status>) -> Vec<String> {
    let mut violations = cqm_testkit::violations(outcome);
    violations.sort();
    violations
}

async fn fields(desk: &Desk) {
    let outcome = desk.customers().create_customer(CreateCustomerRequest::default()).await;
    assert_eq!(violations(outcome), ["customer FIELD_REQUIRED"]);
    let customer = Customer {
        display_name: "名".repeat(201),
        phones: vec![Phone { number: "12".to_owned(), label: 99, ..Default::default() }],
        emails: vec![Email { address: "nobody".to_owned(), ..Default::default() }],
        addresses: vec![Address { city: "x".repeat(101), ..Default::default() }],
        locale: "klingon".to_owned(),
        source_channel: -1,
        ..Default::default()
    };
    let outcome = desk.customers().create_customer(create(customer)).await;
    assert_eq!(
        violations(outcome),
        [
            "customer.addresses[0].city FIELD_TOO_LONG",
            "customer.addresses[0].country_code FIELD_REQUIRED",
            "customer.display_name FIELD_TOO_LONG",
            "customer.emails[0].address FIELD_FORMAT",
            "customer.locale FIELD_FORMAT",
            "customer.phones[0].label ENUM_UNKNOWN",
            "customer.phones[0].number FIELD_FORMAT",
            "customer.source_channel ENUM_UNKNOWN",
        ]
    );

    let complaint = Complaint {
        customer: "customers/7".to_owned(),
        channel: 99,
        category: 0,
        subject: " \u{3000} ".to_owned(),
        description: "x".repeat(10_001),
        ..Default::default()
    };
    let outcome = desk.complaints().register_complaint(register(complaint)).await;
    assert_eq!(
        violations(outcome),
        [
            "complaint.category ENUM_UNKNOWN",
            "complaint.channel ENUM_UNKNOWN",
            "complaint.customer FIELD_FORMAT",
            "complaint.description FIELD_TOO_LONG",
            "complaint.subject FIELD_REQUIRED",
        ]
    );
    let resolve = ResolveComplaintRequest {
        name: "complaints/x".to_owned(),
        compensation_points: -1,
        etag: "?".to_owned(),
        ..Default::default()
    };
    let outcome = desk.complaints().resolve_complaint(resolve).await;
    assert_eq!(
        violations(outcome),
        [
            "compensation_points FIELD_RANGE",
            "etag FIELD_FORMAT",
            "name FIELD_FORMAT",
            "summary FIELD_REQUIRED",
        ]
    );
    let list = ListComplaintsRequest { state: 99, order_by: 99, page_size: -1, ..Default::default() };
    let told = violations(desk.complaints().list_complaints(list).await);
    assert_eq!(told, ["order_by ENUM_UNKNOWN", "page_size FIELD_RANGE", "state ENUM_UNKNOWN"]);

    let publish = PublishSlaPolicyRequest {
        sla_policy: Some(SlaPolicy {
            calendar: Some(SlaCalendar { time_zone: "Moon".to_owned(), ..Default::default() }),
            targets: vec![SlaTarget { severity: 99, ..Default::default() }],
            warning_percent: 101,
            ..Default::default()
        }),
        request_id: "once".to_owned(),
    };
    assert_eq!(
        violations(desk.sla_policies().publish_sla_policy(publish).await),
        [
            "request_id REQUEST_ID_FORMAT",
            "sla_policy.calendar.time_zone FIELD_FORMAT",
            "sla_policy.calendar.weekly FIELD_REQUIRED",
            "sla_policy.targets FIELD_REQUIRED",
            "sla_policy.targets[0].first_response FIELD_REQUIRED",
            "sla_policy.targets[0].resolution FIELD_REQUIRED",
            "sla_policy.targets[0].severity ENUM_UNKNOWN",
            "sla_policy.warning_percent FIELD_RANGE",
        ]
    );

    let earn = EarnPointsRequest {
        customer: nobody("members"),
        basis: Some(Basis::Compensation(CompensationBasis { points: 1_000_001 })),
        source: format!("orders/{}", "1".repeat(200)),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    assert_eq!(
        violations(desk.ledger().earn_points(earn).await),
        [
            "compensation.points FIELD_RANGE",
            "customer FIELD_FORMAT",
            "request_id REQUEST_ID_FORMAT",
            "source FIELD_TOO_LONG",
        ]
    );

    let template = Template { name: "templates/Große".to_owned(), channels: vec![99], ..Default::default() };
    let create = CreateTemplateRequest { template: Some(template), request_id: String::new() };
    let outcome = TemplateServiceClient::new(desk.staff.clone()).create_template(create).await;
    assert_eq!(
        violations(outcome),
        [
            "template.channels[0] ENUM_UNKNOWN",
            "template.contents.zh-CN FIELD_REQUIRED",
            "template.name FIELD_FORMAT",
        ]
    );
    let invite = CreateInvitationRequest { subject_version: -1, ..Default::default() };
    let outcome = InvitationServiceClient::new(desk.staff.clone()).create_invitation(invite).await;
    assert_eq!(
        violations(outcome),
        ["customer FIELD_REQUIRED", "subject_version FIELD_RANGE", "target FIELD_REQUIRED"]
    );
}

async fn no_more_than_headers_carry(desk: &Desk) {
    let customer = Customer {
        phones: vec![Phone { number: "x".repeat(70), label: 99, ..Default::default() }; 10],
        emails: vec![Email { address: "x".repeat(300), ..Default::default() }; 10],
        addresses: vec![Address { city: "x".repeat(101), ..Default::default() }; 10],
        ..named("A")
    };
    let outcome = desk.customers().create_customer(create(customer)).await;
    let status = outcome.unwrap_err();
    let told = told(&status, Code::InvalidArgument, &Failure::of(&status).reason);
    assert_eq!(told.failure.violations.len(), 16);
    assert_eq!(told.details, ["ErrorInfo", "BadRequest"]);
}

async fn characters(desk: &Desk) {
    let forbidden =
        ['\0', '\u{7}', '\u{1b}', '\u{7f}', '\u{9b}', '\u{202a}', '\u{202e}', '\u{2066}', '\u{2069}'];
    for character in forbidden {
        let text = format!("a{character}b");
        let outcome = desk.customers().create_customer(create(named(&text))).await;
        assert_eq!(violations(outcome), ["customer.display_name FORBIDDEN_CHARACTER"], "{text:?}");
        let complaint = Complaint { description: text.clone(), ..about(&text) };
        let outcome = desk.complaints().register_complaint(register(complaint)).await;
        assert_eq!(
            violations(outcome),
            ["complaint.description FORBIDDEN_CHARACTER", "complaint.subject FORBIDDEN_CHARACTER"],
            "{text:?}"
        );
    }
    // A line break is one where lines are, and none in a line.
    let complaint = Complaint { description: "one\r\n\ttwo".to_owned(), ..about("one\ntwo") };
    let outcome = desk.complaints().register_complaint(register(complaint)).await;
    assert_eq!(violations(outcome), ["complaint.subject FORBIDDEN_CHARACTER"]);
    // Composed, not refused.
    let created = desk.customers().create_customer(create(named("Cafe\u{301}"))).await.unwrap().into_inner();
    assert_eq!(created.display_name, "Caf\u{e9}");
}

async fn masks_and_orders(desk: &Desk) {
    let customer = desk.customer().await;
    let paths = ["display_name", "state", "nonsense"].map(str::to_owned).to_vec();
    let update = UpdateCustomerRequest {
        customer: Some(customer),
        update_mask: Some(FieldMask { paths }),
        ..Default::default()
    };
    let outcome = desk.customers().update_customer(update).await;
    assert_eq!(violations(outcome), ["update_mask.nonsense FIELD_FORMAT", "update_mask.state FIELD_FORMAT"]);

    let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
    let summarize = SummarizeResponsesRequest {
        questionnaire: nobody("questionnaires"),
        start_time: at(1_760_000_001),
        end_time: at(1_760_000_000),
        ..Default::default()
    };
    let told =
        violations(ResponseServiceClient::new(desk.staff.clone()).summarize_responses(summarize).await);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].ends_with("_time FIELD_ORDER"), "{told:?}");
}

async fn page_tokens(desk: &Desk) {
    for _ in 0..2 {
        desk.complaint().await;
    }
    let list = |page_token: String| ListComplaintsRequest { page_size: 1, page_token, ..Default::default() };
    let token =
        desk.complaints().list_complaints(list(String::new())).await.unwrap().into_inner().next_page_token;
    desk.complaints().list_complaints(list(token.clone())).await.expect("a token of its own list");

    let last = if token.ends_with('A') { 'B' } else { 'A' };
    let first = if token.starts_with('A') { 'B' } else { 'A' };
    let forged = [
        "x".to_owned(),
        "AAAA".to_owned(),
        "'; DROP TABLE complaints;--".to_owned(),
        "A".repeat(token.len()),
        format!("{first}{}", &token[1..]),
        token[..token.len() / 2].to_owned(),
        format!("{token}AAAA"),
        format!("{}{last}{last}{last}{last}", &token[..token.len() - 4]),
    ];
    for forged in forged {
        let outcome = desk.complaints().list_complaints(list(forged.clone())).await;
        assert_eq!(violations(outcome), ["page_token PAGE_TOKEN_INVALID"], "{forged}");
    }
    for other in [
        ListComplaintsRequest { customer: nobody("customers"), ..list(token.clone()) },
        ListComplaintsRequest { order_by: 2, ..list(token.clone()) },
        ListComplaintsRequest { state: 1, ..list(token.clone()) },
    ] {
        let outcome = desk.complaints().list_complaints(other).await;
        assert_eq!(violations(outcome), ["page_token PAGE_TOKEN_INVALID"]);
    }
    let elsewhere = ListCustomersRequest { page_token: token.clone(), ..Default::default() };
    assert_eq!(
        violations(desk.customers().list_customers(elsewhere).await),
        ["page_token PAGE_TOKEN_INVALID"]
    );
    let elsewhere = ListMembersRequest { page_token: token.clone(), ..Default::default() };
    assert_eq!(violations(desk.members().list_members(elsewhere).await), ["page_token PAGE_TOKEN_INVALID"]);
    let elsewhere = ListTimelineRequest { complaint: nobody("complaints"), page_token: token, page_size: 0 };
    assert_eq!(
        violations(desk.complaints().list_timeline(elsewhere).await),
        ["page_token PAGE_TOKEN_INVALID"]
    );
}

async fn request_ids(desk: &Desk) {
    let earn = EarnPointsRequest {
        customer: nobody("customers"),
        basis: Some(Basis::Compensation(CompensationBasis { points: 1 })),
        ..Default::default()
    };
    assert_eq!(violations(desk.ledger().earn_points(earn).await), ["request_id REQUEST_ID_REQUIRED"]);
    let redeem = RedeemPointsRequest { customer: nobody("customers"), points: 1, ..Default::default() };
    assert_eq!(violations(desk.ledger().redeem_points(redeem).await), ["request_id REQUEST_ID_REQUIRED"]);
    for wrong in ["7", "not a uuid", "01890a5d-ac96-774b-bcce", "'; DROP TABLE idempotency;--"] {
        let register = RegisterComplaintRequest { complaint: Some(about("x")), request_id: wrong.to_owned() };
        let outcome = desk.complaints().register_complaint(register).await;
        assert_eq!(violations(outcome), ["request_id REQUEST_ID_FORMAT"], "{wrong}");
        let create = CreateCustomerRequest { request_id: wrong.to_owned(), ..create(named("A")) };
        assert_eq!(
            violations(desk.customers().create_customer(create).await),
            ["request_id REQUEST_ID_FORMAT"]
        );
    }
    // With what else is wrong.
    let register = RegisterComplaintRequest {
        complaint: Some(Complaint { channel: Channel::Unspecified.into(), ..about("x") }),
        request_id: "7".to_owned(),
    };
    let told = violations(desk.complaints().register_complaint(register).await);
    assert_eq!(told, ["complaint.channel ENUM_UNKNOWN", "request_id REQUEST_ID_FORMAT"]);
    // Too old to be remembered is never taken as new.
    let past = uuid::Timestamp::from_unix(uuid::NoContext, 1_600_000_000, 0);
    let register =
        RegisterComplaintRequest { complaint: Some(about("x")), request_id: Uuid::new_v7(past).to_string() };
    refused(
        desk.complaints().register_complaint(register).await,
        Code::FailedPrecondition,
        "REQUEST_ID_EXPIRED",
    );
    // A name is no request id: nothing is taken for something else.
    let get = GetComplaintRequest { name: fresh() };
    assert_eq!(violations(desk.complaints().get_complaint(get).await), ["name FIELD_FORMAT"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_that_is_too_large_is_invalid_at_a_position() {
    let desk = Desk::open().await;
    let told = refused(
        create_template(&desk, "x", &"x".repeat(20_001)).await,
        Code::InvalidArgument,
        "TEMPLATE_INVALID",
    );
    assert!(told.fact("position").starts_with("contents.zh-CN.body"), "{}", told.failure);
    desk.close().await;
}

async fn create_template(desk: &Desk, subject: &str, body: &str) -> Result<Response<Template>, Status> {
    let content = Content { subject: subject.to_owned(), body: body.to_owned() };
    let template = Template {
        name: format!("templates/t-{}", Uuid::now_v7()),
        contents: [("zh-CN".to_owned(), content)].into(),
        variables: vec!["topic".to_owned()],
        channels: vec![Way::Email.into()],
        ..Default::default()
    };
    let create = CreateTemplateRequest { template: Some(template), request_id: fresh() };
    TemplateServiceClient::new(desk.staff.clone()).create_template(create).await
}

async fn templates(desk: &Desk) {
    let good = "{% if topic %}{{ customer_name }}{% endif %}";
    create_template(desk, "{{ topic }}", good).await.expect("a good template");
    let deep = "{% if topic %}".repeat(9) + &"{% endif %}".repeat(9);
    let very_deep = "{% if topic %}".repeat(600) + &"{% endif %}".repeat(600);
    for (subject, body, position) in [
        ("x", "{{ nobody }}", "contents.zh-CN.body:1:1"),
        ("{{ nobody }}", "x", "contents.zh-CN.subject:1:1"),
        ("x", "one\ntwo {{ topic", "contents.zh-CN.body:2:5"),
        ("x", "{% include 'x' %}", "contents.zh-CN.body:1:1"),
        ("x", "{{ topic * 1000000 }}", "contents.zh-CN.body:1:1"),
        ("x", &deep, "contents.zh-CN.body:1:113"),
        ("x", &very_deep, "contents.zh-CN.body:1:113"),
    ] {
        let outcome = create_template(desk, subject, body).await;
        let told = refused(outcome, Code::InvalidArgument, "TEMPLATE_INVALID");
        assert_eq!((told.fact("position"), told.failure.domain.as_str()), (position, "cqm.notifications.v1"));
    }
}
