use std::time::Duration;

use cqm_proto::complaints::v1::list_complaints_request::OrderBy;
use cqm_proto::complaints::v1::*;
use cqm_rpc::Call;
use diesel_async::SimpleAsyncConnection;

use crate::desk::*;
use complaint::State;

const CUSTOMERS: [&str; 2] = [CUSTOMER, "customers/01890a5d-ac96-774b-bcce-b302099a8059"];
const CATEGORIES: [Category; 2] = [Category::Logistics, Category::ProductQuality];
const SEVERITIES: [Severity; 3] = [Severity::Low, Severity::High, Severity::Critical];
const AGENTS: [&str; 2] = ["agent-1", "agent-2"];

/// Complaints that differ in everything a list can be filtered by, in the order of their registration.
async fn stock(desk: &mut Desk) -> Vec<Complaint> {
    let mut stock = Vec::new();
    for index in 0..36 {
        let told = Complaint {
            customer: CUSTOMERS[index % 2].to_owned(),
            category: CATEGORIES[index / 2 % 2].into(),
            severity: SEVERITIES[index % 3].into(),
            ..matter()
        };
        let client = &mut desk.client;
        let mut complaint =
            client.register_complaint(representative(registration(told))).await.unwrap().into_inner();
        if index % 4 > 0 {
            let message = assign(&complaint.name, AGENTS[index % 4 % 2]);
            complaint = client.assign_complaint(representative(message)).await.unwrap().into_inner();
        }
        if index % 5 > 1 {
            let message = acknowledge(&complaint.name);
            complaint = client.acknowledge_complaint(representative(message)).await.unwrap().into_inner();
        }
        stock.push(complaint);
    }
    desk.kit.events.next().await;
    stock
}

/// Every page of a list.
async fn pages(desk: &Desk, query: &ListComplaintsRequest) -> Vec<Vec<Complaint>> {
    let mut client = desk.client.clone();
    let mut pages = Vec::new();
    let mut query = query.clone();
    loop {
        let page = client.list_complaints(representative(query.clone())).await.unwrap().into_inner();
        pages.push(page.complaints);
        if page.next_page_token.is_empty() {
            return pages;
        }
        query.page_token = page.next_page_token;
    }
}

#[tokio::test]
async fn every_combination_of_filters_lists_what_matches_in_every_order_page_by_page() {
    let mut desk = Desk::open().await;
    let stock = stock(&mut desk).await;
    let mut found_in_all = 0;
    for combination in 0..32_usize {
        let on = |bit: usize| combination >> bit & 1 == 1;
        for order in [OrderBy::Unspecified, OrderBy::CreateTimeAsc, OrderBy::SeverityDesc] {
            let query = ListComplaintsRequest {
                page_size: 5,
                customer: if on(0) { CUSTOMERS[1].to_owned() } else { String::new() },
                state: if on(1) { State::Acknowledged.into() } else { 0 },
                category: if on(2) { CATEGORIES[0].into() } else { 0 },
                severity: if on(3) { SEVERITIES[1].into() } else { 0 },
                assignee: if on(4) { AGENTS[1].to_owned() } else { String::new() },
                order_by: order.into(),
                ..Default::default()
            };
            let mut expected: Vec<&Complaint> = stock
                .iter()
                .filter(|complaint| !on(0) || complaint.customer == query.customer)
                .filter(|complaint| !on(1) || complaint.state == query.state)
                .filter(|complaint| !on(2) || complaint.category == query.category)
                .filter(|complaint| !on(3) || complaint.severity == query.severity)
                .filter(|complaint| !on(4) || complaint.assignee == query.assignee)
                .collect();
            match order {
                OrderBy::SeverityDesc => {
                    expected.sort_by_key(|complaint| std::cmp::Reverse(complaint.severity))
                }
                OrderBy::CreateTimeAsc => {}
                OrderBy::Unspecified | OrderBy::CreateTimeDesc => expected.reverse(),
            }
            let pages = pages(&desk, &query).await;
            let sizes: Vec<usize> = pages.iter().map(Vec::len).collect();
            let full = sizes.len() - 1;
            assert!(sizes[..full].iter().all(|size| *size == 5), "{query:?}: {sizes:?}");
            let found: Vec<&Complaint> = pages.iter().flatten().collect();
            assert_eq!(found, expected, "{query:?}");
            found_in_all += found.len();
        }
    }
    assert!(found_in_all > 500, "the stock matches too little to tell anything: {found_in_all}");
}

#[tokio::test]
async fn a_complaint_that_comes_in_between_two_pages_does_not_shift_them() {
    let mut desk = Desk::open().await;
    let first = desk.registered().await;
    let second = desk.registered().await;
    let third = desk.registered().await;
    let query = ListComplaintsRequest { page_size: 2, ..Default::default() };
    let page = desk.client.list_complaints(representative(query.clone())).await.unwrap().into_inner();
    assert_eq!(page.complaints, [third, second]);
    desk.registered().await;
    let next = ListComplaintsRequest { page_token: page.next_page_token, ..query };
    let page = desk.client.list_complaints(representative(next)).await.unwrap().into_inner();
    assert_eq!((page.complaints, page.next_page_token.as_str()), (vec![first], ""));
}

#[tokio::test]
async fn an_empty_list_is_an_answer() {
    let desk = Desk::open().await;
    assert_eq!(pages(&desk, &ListComplaintsRequest::default()).await, [Vec::new()]);
}

#[tokio::test]
async fn a_page_size_over_the_limit_is_cut_to_it() {
    let desk = Desk::open().await;
    let call = Call::internal("test", Duration::from_secs(30));
    let stocked: Result<(), cqm_rpc::Error> = desk
        .kit
        .db
        .tx(&call, "stock", async |tx| {
            Ok(tx
                .batch_execute(
                    "INSERT INTO complaints (id, reference, customer_id, channel, category, severity, subject,
                         description, remedy_note, state, reopen_count, create_time, update_time, version)
                     SELECT gen_random_uuid(), 'C-' || n, gen_random_uuid(), 1, 1, 1, 's', '', '', 1, 0, now(), now(), 1
                     FROM generate_series(1, 201) AS n",
                )
                .await?)
        })
        .await;
    stocked.unwrap();
    let query = ListComplaintsRequest { page_size: i32::MAX, ..Default::default() };
    let sizes: Vec<usize> = pages(&desk, &query).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [200, 1]);
}

#[tokio::test]
async fn a_timeline_is_read_in_pages_the_oldest_entry_first() {
    let mut desk = Desk::open().await;
    let name = desk.in_state(State::Closed).await.name;
    let other = desk.in_state(State::Resolved).await.name;
    let whole = desk.timeline(&name).await;
    assert_eq!(whole.len(), 4);
    assert_eq!(desk.timeline(&other).await.len(), 3);

    let mut query = ListTimelineRequest { complaint: name.clone(), page_size: 3, ..Default::default() };
    let page = desk.client.list_timeline(representative(query.clone())).await.unwrap().into_inner();
    assert_eq!(page.entries, whole[..3]);
    query.page_token = page.next_page_token;
    // What is added meanwhile comes at the end.
    desk.client.reopen_complaint(representative(reopen(&name))).await.unwrap();
    desk.kit.events.next().await;
    let page = desk.client.list_timeline(representative(query)).await.unwrap().into_inner();
    assert_eq!(page.entries[0], whole[3]);
    assert_eq!(page.entries[1].action(), timeline_entry::Action::Reopened);
    assert_eq!((page.entries.len(), page.next_page_token.as_str()), (2, ""));
}

#[tokio::test]
async fn lists_are_told_what_is_wrong_with_filters_and_tokens() {
    let mut desk = Desk::open().await;
    let message = ListComplaintsRequest {
        page_size: -1,
        customer: "Zhang Wei".to_owned(),
        state: 6,
        category: 8,
        severity: 5,
        order_by: 4,
        ..Default::default()
    };
    let wrong = [
        "customer FIELD_FORMAT",
        "state ENUM_UNKNOWN",
        "category ENUM_UNKNOWN",
        "severity ENUM_UNKNOWN",
        "order_by ENUM_UNKNOWN",
        "page_size FIELD_RANGE",
    ];
    assert_eq!(violations(desk.client.list_complaints(representative(message)).await), wrong);

    let complaint = desk.registered().await;
    desk.registered().await;
    let first = ListComplaintsRequest { page_size: 1, ..Default::default() };
    let token = desk
        .client
        .list_complaints(representative(first.clone()))
        .await
        .unwrap()
        .into_inner()
        .next_page_token;
    let invalid = ["page_token PAGE_TOKEN_INVALID"];
    let mut forged = token.clone().into_bytes();
    forged[14] = if forged[14] == b'A' { b'B' } else { b'A' };
    for (query, token) in [
        (first.clone(), "made-up".to_owned()),
        (first.clone(), "not base64!".to_owned()),
        (first.clone(), String::from_utf8(forged).unwrap()),
        (first.clone(), token[..token.len() - 4].to_owned()),
        (ListComplaintsRequest { severity: 3, ..first.clone() }, token.clone()),
        (ListComplaintsRequest { order_by: 2, ..first.clone() }, token.clone()),
    ] {
        let message = ListComplaintsRequest { page_token: token, ..query };
        assert_eq!(violations(desk.client.list_complaints(representative(message)).await), invalid);
    }
    let message = ListTimelineRequest { complaint: complaint.name, page_token: token, ..Default::default() };
    assert_eq!(violations(desk.client.list_timeline(representative(message)).await), invalid);
}

#[tokio::test]
async fn a_list_of_what_is_open_has_every_state_but_closed() {
    let mut desk = Desk::open().await;
    let mut open = Vec::new();
    for state in [State::Registered, State::Acknowledged, State::Investigating, State::Resolved] {
        open.push(desk.in_state(state).await.name);
    }
    desk.in_state(State::Closed).await;
    open.reverse();
    let query = ListComplaintsRequest { customer: CUSTOMER.into(), open_only: true, ..Default::default() };
    let names =
        |page: &Vec<Complaint>| page.iter().map(|complaint| complaint.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&pages(&desk, &query).await[0]), open);
    let closed = ListComplaintsRequest { state: State::Closed.into(), ..query.clone() };
    assert!(pages(&desk, &closed).await[0].is_empty(), "filters that are set must all hold");
}

#[tokio::test]
async fn the_timelines_of_a_customer_are_one_the_latest_first_page_by_page() {
    let mut desk = Desk::open().await;
    let one = desk.registered().await.name;
    desk.kit.clock.advance(Duration::from_secs(60));
    let other = desk.registered().await.name;
    desk.kit.clock.advance(Duration::from_secs(60));
    // Two steps at one time, of two complaints and of one.
    for name in [&one, &other] {
        desk.client.acknowledge_complaint(representative(acknowledge(name))).await.unwrap();
    }
    desk.client.start_investigation(representative(start(&one))).await.unwrap();
    desk.kit.events.next().await;
    let told = Complaint { customer: CUSTOMERS[1].into(), ..matter() };
    desk.client.register_complaint(representative(registration(told))).await.unwrap();
    desk.kit.events.next().await;

    let expected: Vec<String> = [
        format!("{other}/timeline/2"),
        format!("{one}/timeline/3"),
        format!("{one}/timeline/2"),
        format!("{other}/timeline/1"),
        format!("{one}/timeline/1"),
    ]
    .into();
    for page_size in [1, 2, 3, 5, 50] {
        let mut query =
            ListCustomerTimelineRequest { customer: CUSTOMER.into(), page_size, ..Default::default() };
        let mut names = Vec::new();
        loop {
            let page =
                desk.client.list_customer_timeline(representative(query.clone())).await.unwrap().into_inner();
            assert!(page.entries.iter().all(|entry| entry.customer == CUSTOMER));
            names.extend(page.entries.into_iter().map(|entry| entry.name));
            query.page_token = page.next_page_token;
            if query.page_token.is_empty() {
                break;
            }
        }
        assert_eq!(names, expected, "pages of {page_size}");
    }

    let nobody = ListCustomerTimelineRequest {
        customer: NOBODYS.replace("complaints", "customers"),
        ..Default::default()
    };
    assert!(
        desk.client
            .list_customer_timeline(representative(nobody))
            .await
            .unwrap()
            .into_inner()
            .entries
            .is_empty()
    );
    let wrong = ListCustomerTimelineRequest { customer: one, page_size: -1, page_token: "x".into() };
    assert_eq!(
        violations(desk.client.list_customer_timeline(representative(wrong)).await),
        ["customer FIELD_FORMAT", "page_size FIELD_RANGE", "page_token PAGE_TOKEN_INVALID"]
    );
}

#[tokio::test]
async fn what_a_complaint_says_in_words_is_released_with_its_customer() {
    use cqm_proto::audit::v1::ListReleasesRequest;
    use cqm_proto::audit::v1::audit_service_client::AuditServiceClient;
    use cqm_rpc::Role;
    use cqm_testkit::request;

    let mut desk = Desk::open().await;
    let name = desk.in_state(State::Resolved).await.name;
    let get = GetComplaintRequest { name: name.clone() };
    let masked =
        desk.client.get_complaint(request(Role::Supervisor, get.clone())).await.unwrap().into_inner();
    assert_eq!((masked.subject.as_str(), masked.resolution.unwrap().summary.as_str()), ("***", "***"));
    let mut clear = request(Role::Supervisor, get);
    clear.metadata_mut().insert("x-cqm-purpose", "quality_supervision".parse().unwrap());
    let clear = desk.client.get_complaint(clear).await.unwrap().into_inner();
    assert_eq!(clear.subject, matter().subject);
    // A timeline's notes are the complaint's words as well.
    let list = ListTimelineRequest { complaint: name.clone(), ..Default::default() };
    let mut list = request(Role::Supervisor, list);
    list.metadata_mut().insert("x-cqm-purpose", "quality_supervision".parse().unwrap());
    desk.client.list_timeline(list).await.unwrap();

    let mut audit = AuditServiceClient::new(desk.kit.channel.clone());
    let filter = ListReleasesRequest { customer: CUSTOMER.into(), ..Default::default() };
    let releases =
        audit.list_releases(request(Role::Supervisor, filter)).await.unwrap().into_inner().releases;
    let resources: Vec<Vec<String>> = releases.into_iter().map(|release| release.resources).collect();
    let steps: Vec<String> = (1..=3).map(|step| format!("{name}/timeline/{step}")).collect();
    assert_eq!(resources, [steps, vec![name]]);
}
