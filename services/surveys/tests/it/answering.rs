use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use tonic::Code;

use crate::panel::*;

fn nps(question_id: &str, value: i32) -> Answer {
    answer(question_id, answer::Value::Nps(value))
}

fn words(question_id: &str, text: &str) -> Answer {
    answer(question_id, answer::Value::Text(text.to_owned()))
}

fn choice(question_id: &str, id: &str) -> Answer {
    answer(question_id, answer::Value::Choice(id.to_owned()))
}

#[tokio::test]
async fn a_response_is_kept_and_told() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    panel.kit.clock.advance(DAY);
    let given = vec![words("comment", "谢谢\r\n<b>Li</b> "), rating("handling", 2), nps("recommend", 10)];
    let (confirmed, accepted) = panel.answered(&invitation.name, given).await;

    let response = panel.response(&confirmed.response).await;
    assert_eq!(
        response.answers,
        [rating("handling", 2), nps("recommend", 10), words("comment", "谢谢\n<b>Li</b>")]
    );
    assert_eq!((response.mode(), response.dissatisfied), (response::Mode::Online, true));
    assert_eq!((response.invitation, response.create_time), (invitation.name.clone(), confirmed.create_time));
    let expected = events::ResponseAccepted {
        response: confirmed.response.clone(),
        invitation: invitation.name.clone(),
        customer: CUSTOMER.to_owned(),
        questionnaire: SEEDED.to_owned(),
        subject: COMPLAINT.to_owned(),
        subject_version: 2,
        dissatisfied: true,
        incentive: true,
    };
    assert_eq!(accepted, expected);

    let answered = panel.invitation(&invitation.name).await;
    assert_eq!((answered.state(), answered.etag.as_str()), (invitation::State::Answered, "v2"));
    assert_eq!(
        (answered.response, answered.answer_time),
        (confirmed.response.clone(), confirmed.create_time)
    );
    assert_eq!(panel.row(&confirmed.response).await["dissatisfied"], true);
    assert_eq!(panel.kit.count("answers").await, 3);
}

#[tokio::test]
async fn every_kind_of_answer_comes_back_as_it_was_given() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let invitation = panel.invited_to(&name).await;
    let given = vec![
        choice("one", "b"),
        picks("some", &["z", "x"]),
        rating("rate", 3),
        nps("nps", 0),
        words("words", "=1+1"),
    ];
    let (confirmed, accepted) = panel.answered(&invitation.name, given.clone()).await;
    assert_eq!(panel.response(&confirmed.response).await.answers, given);
    assert!(!accepted.dissatisfied, "a rating comes before a likelihood to recommend");
}

#[tokio::test]
async fn questions_may_be_left_out_unless_they_are_required() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let invitation = panel.invited_to(&name).await;
    let given = vec![rating("rate", 5), words("words", "  "), picks("some", &[])];
    let (confirmed, _) = panel.answered(&invitation.name, given).await;
    assert_eq!(panel.response(&confirmed.response).await.answers, [rating("rate", 5)]);
}

#[tokio::test]
async fn everything_that_does_not_fit_the_questions_is_told_at_once() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let invitation = panel.invited_to(&name).await;
    let token = panel.token(&invitation.name).await;
    let given = vec![
        nps("nps", 11),
        choice("one", "c"),
        picks("some", &["x", "y", "z"]),
        words("words", "more than ten"),
        words("unknown", "x"),
        rating("one", 1),
    ];
    let outcome = panel.responses.submit_response(customer(submit(&token, given))).await;
    let expected = [
        "answers[0].nps ANSWER_VALUE",
        "answers[1].choice ANSWER_VALUE",
        "answers[2].choices ANSWER_VALUE",
        "answers[3].text ANSWER_VALUE",
        "answers[4].question_id QUESTION_UNKNOWN",
        "answers[5].question_id FIELD_FORMAT",
        "answers ANSWER_REQUIRED",
    ];
    assert_eq!(violations(outcome), expected);

    let outcome = panel.responses.submit_response(customer(submit(&token, vec![nps("rate", 3)]))).await;
    assert_eq!(violations(outcome), ["answers[0].nps ANSWER_KIND"]);
    // Nothing was taken, and the invitation can still be answered.
    assert_eq!((panel.kit.count("responses").await, panel.kit.count("answers").await), (0, 0));
    panel.answered(&invitation.name, vec![rating("rate", 4)]).await;
}

#[tokio::test]
async fn what_is_wrong_with_the_answers_themselves_is_told_at_once() {
    let mut panel = Panel::open().await;
    let given = vec![
        words("", "x"),
        Answer { question_id: "rate".to_owned(), value: None },
        words("words", "a\u{202e}b"),
        words("words", &"长".repeat(5001)),
        picks("some", &["x"; 51]),
    ];
    let outcome = panel.responses.submit_response(customer(submit("", given))).await;
    let expected = [
        "token FIELD_REQUIRED",
        "answers[0].question_id FIELD_REQUIRED",
        "answers[1].value FIELD_REQUIRED",
        "answers[2].text FORBIDDEN_CHARACTER",
        "answers[3].text FIELD_TOO_LONG",
        "answers[4].choices.ids FIELD_TOO_LONG",
    ];
    assert_eq!(violations(outcome), expected);
    let outcome = panel.responses.submit_response(customer(submit("t", vec![rating("rate", 1); 51]))).await;
    assert_eq!(violations(outcome), ["answers FIELD_TOO_LONG"]);
}

#[tokio::test]
async fn the_same_answers_again_are_the_same_response_and_others_are_refused() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    let (first, _) =
        panel.answered(&invitation.name, vec![rating("handling", 4), words("comment", "ok")]).await;
    panel.kit.clock.advance(20 * DAY);
    // In another order and spelling, and after the invitation's time.
    let again = vec![words("comment", " ok "), rating("handling", 4)];
    let answer = panel.responses.submit_response(customer(submit(&token, again))).await.unwrap().into_inner();
    assert_eq!(answer, first);
    for other in
        [vec![rating("handling", 5), words("comment", "ok")], vec![rating("handling", 4)], Vec::new()]
    {
        let outcome = panel.responses.submit_response(customer(submit(&token, other))).await;
        refused(outcome, Code::FailedPrecondition, "INVITATION_ANSWERED");
    }
    let outcome = panel.invitations.open_invitation(customer(OpenInvitationRequest { token })).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_ANSWERED");
    assert_eq!((panel.kit.count("responses").await, panel.kit.count("answers").await), (1, 2));
}

#[tokio::test]
async fn staff_write_down_what_customers_say() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let message = RecordResponseRequest {
        invitation: invitation.name.clone(),
        answers: vec![rating("handling", 1)],
        mode: response::Mode::Phone.into(),
        ..Default::default()
    };
    let recorded =
        panel.responses.record_response(request(Role::ServiceRepresentative, message.clone())).await;
    let recorded = recorded.unwrap().into_inner();
    let (event, accepted) = panel.kit.events.only::<events::ResponseAccepted>().await;
    assert_eq!((event.aggregate, accepted.dissatisfied), (recorded.name.clone(), true));
    assert_eq!((recorded.mode(), recorded.dissatisfied), (response::Mode::Phone, true));
    assert_eq!(panel.response(&recorded.name).await, recorded);

    let other = RecordResponseRequest { answers: vec![rating("handling", 5)], ..message.clone() };
    let outcome = panel.responses.record_response(manager(other)).await;
    refused(outcome, Code::FailedPrecondition, "INVITATION_ANSWERED");
    let absent = RecordResponseRequest { invitation: format!("invitations/{NOBODY}"), ..message.clone() };
    let failure = refused(
        panel.responses.record_response(manager(absent)).await,
        Code::NotFound,
        "INVITATION_NOT_FOUND",
    );
    assert_eq!(failure.facts["name"], format!("invitations/{NOBODY}"));
    let online = RecordResponseRequest {
        mode: response::Mode::Online.into(),
        invitation: "x".into(),
        ..message.clone()
    };
    let outcome = panel.responses.record_response(manager(online)).await;
    assert_eq!(violations(outcome), ["invitation FIELD_FORMAT", "mode FIELD_FORMAT"]);
    let unknown = RecordResponseRequest { mode: 99, ..message.clone() };
    let outcome = panel.responses.record_response(manager(unknown)).await;
    assert_eq!(violations(outcome), ["mode ENUM_UNKNOWN"]);
    let outcome = panel.responses.record_response(customer(message)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}

#[tokio::test]
async fn the_database_takes_one_response_for_an_invitation_and_none_without_one() {
    use diesel_async::SimpleAsyncConnection;

    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    panel.answered(&invitation.name, vec![rating("handling", 4)]).await;
    let mut conn = panel.connection().await;
    for (invitation_id, complaint) in [("invitation_id", "responses_once"), ("NULL", "null value in column")]
    {
        let copy = format!(
            "INSERT INTO responses SELECT gen_random_uuid(), {invitation_id}, questionnaire_id, number, customer_id, \
             subject, subject_version, dissatisfied, mode, create_time FROM responses"
        );
        let error = conn.batch_execute(&copy).await.unwrap_err().to_string();
        assert!(error.contains(complaint), "{error}");
    }
}

#[tokio::test]
async fn what_customers_write_stands_in_no_event() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    let planted = "planted 13800138000 li.na@example.com";
    let message = submit(&token, vec![rating("handling", 4), words("comment", planted)]);
    panel.responses.submit_response(customer(message)).await.unwrap();
    let events = panel.kit.events.next().await;
    assert_eq!(events.len(), 1);
    for event in events {
        let payload = String::from_utf8_lossy(&event.payload).into_owned();
        assert!(
            !payload.contains("planted") && !payload.contains("13800138000") && !payload.contains(&token)
        );
    }
}
