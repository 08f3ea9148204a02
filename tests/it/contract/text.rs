//! Text that is dangerous somewhere else is text here: it comes back as it was given.

use cqm_proto::complaints::v1::{
    AcknowledgeComplaintRequest, Complaint, GetComplaintRequest, ListComplaintsRequest, ListTimelineRequest,
    ReopenComplaintRequest, ResolveComplaintRequest, reopen_complaint_request,
};
use cqm_proto::customers::v1::interaction_service_client::InteractionServiceClient;
use cqm_proto::customers::v1::{
    Address, Customer, GetCustomerRequest, Interaction, ListCustomersRequest, ListInteractionsRequest,
    RecordInteractionRequest,
};
use cqm_proto::notifications::v1::template::Content;
use cqm_proto::notifications::v1::template_service_client::TemplateServiceClient;
use cqm_proto::notifications::v1::{Channel as Way, CreateTemplateRequest, GetTemplateRequest, Template};
use uuid::Uuid;

use super::{Desk, about, create, fresh, named, register};

/// What a terminal would act on begins with a control character and is refused (`shape`); written out it is text.
const DANGEROUS: [&str; 12] = [
    "<script>alert(document.cookie)</script>",
    "\"><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; &#x27;",
    "'; DROP TABLE customers; --",
    "' OR '1'='1",
    "\\'; SELECT pg_sleep(10); --",
    "=HYPERLINK(\"http://example.com\";\"x\")",
    "+1+1", // The beginnings that make a cell a formula.
    "-2+3|cmd",
    "@SUM(A1:A9)",
    "\\x1b[31m\\u001b]0;title\\a ${jndi:ldap://x} %s%n %00 {{7*7}} {% raw %}",
    "../../etc/passwd \u{1f469}\u{200d}\u{1f467} 客户 \u{feff}x",
];

#[tokio::test(flavor = "multi_thread")]
async fn text_comes_back_as_it_was_given() {
    let desk = Desk::open().await;
    for text in DANGEROUS {
        in_a_customer(&desk, text).await;
        in_a_complaint(&desk, text).await;
        in_a_template(&desk, text).await;
    }
    // And what the texts threaten is all there.
    let customers =
        desk.customers().list_customers(ListCustomersRequest::default()).await.unwrap().into_inner();
    let mut names: Vec<&str> =
        customers.customers.iter().map(|customer| customer.display_name.as_str()).collect();
    names.reverse();
    assert_eq!(names, DANGEROUS);
    let complaints =
        desk.complaints().list_complaints(ListComplaintsRequest::default()).await.unwrap().into_inner();
    assert_eq!(complaints.complaints.len(), DANGEROUS.len());
    desk.close().await;
}

async fn in_a_customer(desk: &Desk, text: &str) {
    let address = Address {
        country_code: "CN".to_owned(),
        city: text.to_owned(),
        lines: vec![text.to_owned()],
        ..Default::default()
    };
    let reference = format!("{text}#1");
    let customer =
        Customer { addresses: vec![address.clone()], external_reference: reference.clone(), ..named(text) };
    let created = desk.customers_in_clear().create_customer(create(customer)).await.unwrap().into_inner();
    let get = GetCustomerRequest { name: created.name.clone(), ..Default::default() };
    let found = desk.customers_in_clear().get_customer(get).await.unwrap().into_inner();
    assert_eq!(found, created);
    assert_eq!(found.display_name, text);
    assert_eq!((found.addresses, found.external_reference.as_str()), (vec![address], reference.as_str()));
    // Looked for, it is a value and no pattern.
    let list = ListCustomersRequest { external_reference: reference, ..Default::default() };
    let listed = desk.customers_in_clear().list_customers(list).await.unwrap().into_inner().customers;
    assert_eq!(listed, std::slice::from_ref(&created));

    let mut interactions = InteractionServiceClient::new(desk.staff.clone());
    let interaction = Interaction { kind: 1, channel: 1, summary: text.to_owned(), ..Default::default() };
    let record = RecordInteractionRequest {
        customer: created.name.clone(),
        interaction: Some(interaction),
        request_id: fresh(),
    };
    interactions.record_interaction(record).await.unwrap();
    let list = ListInteractionsRequest { customer: created.name, ..Default::default() };
    let listed = interactions.list_interactions(list).await.unwrap().into_inner().interactions;
    assert_eq!(listed.iter().map(|interaction| interaction.summary.as_str()).collect::<Vec<_>>(), [text]);
}

async fn in_a_complaint(desk: &Desk, text: &str) {
    let lines = format!("{text}\n\t{text}");
    let complaint = Complaint { description: lines.clone(), remedy_note: text.to_owned(), ..about(text) };
    let registered = desk.complaints().register_complaint(register(complaint)).await.unwrap().into_inner();
    let name = registered.name.clone();
    let acknowledge = AcknowledgeComplaintRequest { name: name.clone(), ..Default::default() };
    desk.complaints().acknowledge_complaint(acknowledge).await.unwrap();
    let resolve =
        ResolveComplaintRequest { name: name.clone(), summary: lines.clone(), ..Default::default() };
    desk.complaints().resolve_complaint(resolve).await.unwrap();
    let reopen = ReopenComplaintRequest {
        name: name.clone(),
        reason: reopen_complaint_request::Reason::NewFacts.into(),
        note: text.to_owned(),
        ..Default::default()
    };
    desk.complaints().reopen_complaint(reopen).await.unwrap();
    let found = desk
        .complaints()
        .get_complaint(GetComplaintRequest { name: name.clone() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!((found.subject.as_str(), found.remedy_note.as_str()), (text, text));
    assert_eq!((&found.description, &found.resolution.unwrap().summary), (&lines, &lines));
    let list = ListTimelineRequest { complaint: name, ..Default::default() };
    let entries = desk.complaints().list_timeline(list).await.unwrap().into_inner().entries;
    assert!(entries.iter().any(|entry| entry.note == text), "{text}");
}

async fn in_a_template(desk: &Desk, text: &str) {
    if text.contains("{{") {
        return; // Of a template it would be a part; `shape` has those.
    }
    let mut templates = TemplateServiceClient::new(desk.staff.clone());
    let content = Content { subject: text.to_owned(), body: text.to_owned() };
    let name = format!("templates/t-{}", Uuid::now_v7());
    let template = Template {
        name: name.clone(),
        contents: [("zh-CN".to_owned(), content.clone())].into(),
        channels: vec![Way::InApp.into()],
        ..Default::default()
    };
    let create = CreateTemplateRequest { template: Some(template), request_id: fresh() };
    templates.create_template(create).await.unwrap();
    let found = templates.get_template(GetTemplateRequest { name }).await.unwrap().into_inner();
    assert_eq!(found.contents["zh-CN"], content);
}
