//! Accepting messages, reading them, and what their callers do wrong.

use cqm_proto::notifications::v1::message::State;
use cqm_proto::notifications::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use tonic::Code;

use crate::desk::*;

#[tokio::test]
async fn a_call_makes_one_message_for_each_channel() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let messages = desk.send(acknowledgement(LI)).await;
    let channels: Vec<_> = messages.iter().map(Message::channel).collect();
    assert_eq!(channels, [Channel::Email, Channel::InApp]);
    for message in &messages {
        assert_eq!((message.state(), message.recipient.as_str()), (State::Queued, LI));
        assert_eq!((message.about.as_str(), message.etag.as_str()), (COMPLAINT, "v1"));
        assert_eq!(message.template, "templates/complaint-acknowledged");
        assert_eq!(
            (message.create_time.as_ref(), message.finish_time.as_ref()),
            (message.update_time.as_ref(), None)
        );
        desk.reaches(&message.name, State::Delivered).await;
    }
    let mut told: Vec<_> = desk.events(2).await.into_iter().map(|event| event.aggregate).collect();
    told.sort();
    let mut names: Vec<_> = messages.iter().map(|message| message.name.clone()).collect();
    names.sort();
    assert_eq!(told, names);
    let one = desk.send_on(Channel::InApp, LI).await;
    desk.reaches(&one.name, State::Delivered).await;
    desk.delivered(&one).await;
}

#[tokio::test]
async fn a_repeated_call_has_one_effect_and_one_answer() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let call = SendMessageRequest { request_id: request_id(), ..acknowledgement(LI) };
    let first = desk.messages.send_message(coordinator(call.clone())).await.unwrap().into_inner();
    for message in &first.messages {
        desk.reaches(&message.name, State::Delivered).await;
    }
    let second = desk.messages.send_message(coordinator(call.clone())).await.unwrap().into_inner();
    assert_eq!(bytes(&first), bytes(&second));
    assert_eq!((desk.kit.count("messages").await, desk.sink.mails().len()), (2, 1));
    desk.events(2).await;

    let other = SendMessageRequest { about: String::new(), ..call.clone() };
    refused(
        desk.messages.send_message(coordinator(other)).await,
        Code::FailedPrecondition,
        "REQUEST_ID_REUSED",
    );
    let malformed = SendMessageRequest { request_id: "7".to_owned(), ..call };
    let refused = violations(desk.messages.send_message(coordinator(malformed)).await);
    assert_eq!(refused, ["request_id REQUEST_ID_FORMAT"]);
    assert_eq!(desk.kit.count("messages").await, 2);
}

#[tokio::test]
async fn the_same_call_at_the_same_time_has_one_effect() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let call = SendMessageRequest {
        request_id: request_id(),
        channels: vec![Channel::Email.into()],
        ..acknowledgement(LI)
    };
    let calls = (0..8).map(|_| {
        let (mut client, call) = (desk.messages.clone(), call.clone());
        async move { client.send_message(coordinator(call)).await.unwrap().into_inner() }
    });
    let answers = futures::future::join_all(calls).await;
    assert!(answers.iter().all(|answer| bytes(answer) == bytes(&answers[0])));
    let message = &answers[0].messages[0];
    desk.reaches(&message.name, State::Delivered).await;
    assert_eq!((desk.kit.count("messages").await, desk.sink.mails().len()), (1, 1));
    desk.delivered(message).await;
}

#[tokio::test]
async fn everything_wrong_with_a_call_is_said_at_once() {
    let mut desk = Desk::open().await;
    let wrong = SendMessageRequest {
        recipient: "customers/1".to_owned(),
        template: "templates/No Such".to_owned(),
        variables: values(&[("a", "\u{0}"), ("b", &"x".repeat(2001))]),
        channels: vec![9, 1, 1],
        about: "something".to_owned(),
        request_id: "again".to_owned(),
    };
    let found = violations(desk.messages.send_message(coordinator(wrong)).await);
    let expected = [
        "recipient FIELD_FORMAT",
        "template FIELD_FORMAT",
        "variables.a FORBIDDEN_CHARACTER",
        "variables.b FIELD_TOO_LONG",
        "channels[0] ENUM_UNKNOWN",
        "channels[2] FIELD_FORMAT",
        "about FIELD_FORMAT",
        "request_id REQUEST_ID_FORMAT",
    ];
    assert_eq!(found, expected);
    let empty = violations(desk.messages.send_message(coordinator(SendMessageRequest::default())).await);
    assert_eq!(empty, ["recipient FIELD_REQUIRED", "template FIELD_REQUIRED"]);

    for about in ["customers/LiLei", "phones/13800138000", "complaints/1"] {
        let personal = SendMessageRequest { about: about.to_owned(), ..acknowledgement(LI) };
        let found = violations(desk.messages.send_message(coordinator(personal)).await);
        assert_eq!(found, ["about FIELD_FORMAT"], "{about}");
    }

    let many = (0..51).map(|number| (format!("v{number}"), String::new())).collect();
    let many = SendMessageRequest { variables: many, ..acknowledgement(LI) };
    let found = violations(desk.messages.send_message(coordinator(many)).await);
    assert_eq!(found, ["variables FIELD_TOO_LONG"]);

    let unknown = SendMessageRequest { template: "templates/nothing".to_owned(), ..acknowledgement(LI) };
    let failure =
        refused(desk.messages.send_message(coordinator(unknown)).await, Code::NotFound, "TEMPLATE_NOT_FOUND");
    assert_eq!(failure.facts["name"], "templates/nothing");

    let others = SendMessageRequest { variables: values(&[("other", "x")]), ..acknowledgement(LI) };
    let found = violations(desk.messages.send_message(coordinator(others)).await);
    let expected = ["variables.reference VARIABLE_MISSING", "variables.other VARIABLE_UNKNOWN"];
    assert_eq!(found, expected);
    assert_eq!(desk.kit.count("messages").await, 0);
}

#[tokio::test]
async fn who_may_not_send_is_told_so() {
    let mut desk = Desk::open().await;
    for role in [Role::TechnicalSupport, Role::Supervisor, Role::Customer] {
        let answer = desk.messages.send_message(request(role, acknowledgement(LI))).await;
        refused(answer, Code::PermissionDenied, "ROLE_MISSING");
    }
    assert_eq!(desk.kit.count("messages").await, 0);
}

#[tokio::test]
async fn lists_are_paged_newest_first_and_filtered() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let mut names = Vec::new();
    for (to, about) in [(LI, COMPLAINT), (LI, ""), (LI, COMPLAINT), (JANE, COMPLAINT)] {
        let message = SendMessageRequest {
            channels: vec![Channel::InApp.into()],
            about: about.to_owned(),
            ..acknowledgement(to)
        };
        names.insert(0, desk.send(message).await.remove(0).name);
    }
    for name in &names[1..] {
        desk.reaches(name, State::Delivered).await;
    }
    desk.events(3).await;

    let all = ListMessagesRequest::default();
    let cases = [
        (all.clone(), &names[..]),
        (ListMessagesRequest { recipient: LI.to_owned(), ..all.clone() }, &names[1..]),
        (ListMessagesRequest { state: State::WaitingForContact.into(), ..all.clone() }, &names[..1]),
        (
            ListMessagesRequest { recipient: JANE.to_owned(), state: State::Delivered.into(), ..all.clone() },
            &[][..],
        ),
    ];
    for (filter, expected) in cases {
        let mut found = Vec::new();
        let mut token = String::new();
        loop {
            let page = ListMessagesRequest { page_size: 1, page_token: token, ..filter.clone() };
            let page = desk.messages.list_messages(representative(page)).await.unwrap().into_inner();
            assert!(page.messages.len() <= 1);
            found.extend(page.messages.into_iter().map(|message| message.name));
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, expected, "{filter:?}");
    }
    let about = ListMessagesRequest { about: COMPLAINT.to_owned(), ..all.clone() };
    let found = desk.messages.list_messages(representative(about)).await.unwrap().into_inner().messages;
    let found: Vec<_> = found.into_iter().map(|message| message.name).collect();
    assert_eq!(found, [names[0].clone(), names[1].clone(), names[3].clone()]);
}

#[tokio::test]
async fn wrong_lists_and_names_are_refused() {
    let mut desk = Desk::open().await;
    desk.send(acknowledgement(LI)).await;
    let first = ListMessagesRequest { page_size: 1, ..Default::default() };
    let token =
        desk.messages.list_messages(representative(first)).await.unwrap().into_inner().next_page_token;
    for (list, field, reason) in [
        (ListMessagesRequest { page_size: -1, ..Default::default() }, "page_size", "FIELD_RANGE"),
        (
            ListMessagesRequest { page_token: "forged".into(), ..Default::default() },
            "page_token",
            "PAGE_TOKEN_INVALID",
        ),
        (
            ListMessagesRequest { page_token: token, recipient: LI.into(), ..Default::default() },
            "page_token",
            "PAGE_TOKEN_INVALID",
        ),
        (ListMessagesRequest { state: 77, ..Default::default() }, "state", "ENUM_UNKNOWN"),
        (ListMessagesRequest { recipient: "x".into(), ..Default::default() }, "recipient", "FIELD_FORMAT"),
        (ListMessagesRequest { about: "x y".into(), ..Default::default() }, "about", "FIELD_FORMAT"),
    ] {
        let found = violations(desk.messages.list_messages(representative(list)).await);
        assert_eq!(found, [format!("{field} {reason}")]);
    }
    for (name, code, reason) in [
        (String::new(), Code::InvalidArgument, "FIELD_REQUIRED"),
        ("messages/x".to_owned(), Code::InvalidArgument, "FIELD_FORMAT"),
        (format!("messages/{NOBODY}"), Code::NotFound, "MESSAGE_NOT_FOUND"),
    ] {
        let get = GetMessageRequest { name: name.clone() };
        refused(desk.messages.get_message(representative(get)).await, code, reason);
        let explain = ExplainDeliveryRequest { name };
        refused(desk.messages.explain_delivery(representative(explain)).await, code, reason);
    }
}

#[tokio::test]
async fn a_way_names_no_person() {
    let mut desk = Desk::open().await;
    desk.put(li()).await;
    let secret = "https://example.com/s#secret-token";
    let message = SendMessageRequest {
        template: "templates/survey-invitation".to_owned(),
        variables: values(&[("link", secret), ("expire_date", "2026-01-29")]),
        ..acknowledgement(LI)
    };
    for message in desk.send(message).await {
        desk.reaches(&message.name, State::Delivered).await;
        let way = desk.way(&message.name).await.join("\n");
        for personal in ["李雷", "li.lei", "13800138000", "secret-token"] {
            assert!(!way.contains(personal), "{way}");
        }
    }
    for event in desk.events(2).await {
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        for personal in ["李雷", "li.lei", "13800138000", "secret-token"] {
            assert!(!payload.contains(personal), "{payload}");
        }
    }
    // The link was needed until the messages were finished, and not longer.
    assert!(
        desk.kit
            .rows("SELECT variables::text AS row FROM messages WHERE variables IS NOT NULL")
            .await
            .is_empty()
    );
}
