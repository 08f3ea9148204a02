use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use prost_types::{Duration, Timestamp};
use tonic::Code;

use crate::panel::*;

#[tokio::test]
async fn an_invitation_by_purpose_asks_the_questionnaire_that_was_published_last() {
    let mut panel = Panel::open().await;
    let created =
        panel.invitations.create_invitation(request(Role::Coordinator, invite_about_complaint())).await;
    let created = created.unwrap().into_inner();
    assert_eq!(created.questionnaire_version, format!("{SEEDED}/versions/1"));
    assert_eq!((created.state(), created.etag.as_str()), (invitation::State::Pending, "v1"));
    let (event, payload) = panel.kit.events.only::<events::InvitationCreated>().await;
    assert_eq!((event.aggregate.as_str(), event.aggregate_version), (created.name.as_str(), 1));
    assert_eq!((payload.customer.as_str(), payload.subject.as_str()), (CUSTOMER, COMPLAINT));
    assert_eq!((payload.subject_version, payload.expire_time), (2, created.expire_time));
    // 2026-01-15T01:30:00Z and 14 days.
    assert_eq!(created.expire_time, Some(Timestamp { seconds: 1_769_650_200, nanos: 0 }));

    let own = Questionnaire { purpose: Purpose::ComplaintHandling.into(), ..every_kind() };
    let own = panel.published(own).await;
    let next =
        panel.invited(CreateInvitationRequest { subject_version: 3, ..invite_about_complaint() }).await;
    assert_eq!(next.questionnaire_version, format!("{}/versions/1", own.name));
    assert_eq!(panel.row(&next.name).await["subject_version"], 3);
}

#[tokio::test]
async fn without_a_published_questionnaire_of_the_purpose_nobody_is_invited() {
    let mut panel = Panel::open().await;
    let demand = || CreateInvitationRequest {
        target: Some(create_invitation_request::Target::Purpose(Purpose::Demand.into())),
        ..invite_about_complaint()
    };
    panel.drafted(Questionnaire { purpose: Purpose::Demand.into(), ..every_kind() }).await;
    let outcome = panel.invitations.create_invitation(manager(demand())).await;
    let failure = refused(outcome, Code::FailedPrecondition, "NO_PUBLISHED_QUESTIONNAIRE");
    assert_eq!(failure.facts["purpose"], "DEMAND");
    assert_eq!(panel.kit.count("invitations").await, 0);
}

#[tokio::test]
async fn only_a_published_questionnaire_can_be_asked() {
    let mut panel = Panel::open().await;
    let draft = panel.drafted(every_kind()).await;
    let outcome = panel.invitations.create_invitation(manager(invite_to(&draft.name))).await;
    let failure = refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_STATE");
    assert_eq!(failure.facts["state"], "DRAFT");
    let outcome =
        panel.invitations.create_invitation(manager(invite_to(&format!("questionnaires/{NOBODY}")))).await;
    refused(outcome, Code::NotFound, "QUESTIONNAIRE_NOT_FOUND");
}

#[tokio::test]
async fn an_invitation_can_be_answered_as_long_as_was_asked_for() {
    let mut panel = Panel::open().await;
    let ttl = Some(Duration { seconds: 60, nanos: 1_500 });
    let invitation = panel.invited(CreateInvitationRequest { ttl, ..invite_about_complaint() }).await;
    let created = invitation.create_time.unwrap().seconds;
    assert_eq!(invitation.expire_time, Some(Timestamp { seconds: created + 60, nanos: 1_000 }));
    // The link stands for the expiry as it is stored.
    let token = panel.token(&invitation.name).await;
    panel.invitations.open_invitation(customer(OpenInvitationRequest { token })).await.unwrap();
}

#[tokio::test]
async fn a_link_opens_the_questions_in_all_their_languages() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let link = |role| request(role, GetInvitationLinkRequest { name: invitation.name.clone() });
    let link = panel.invitations.get_invitation_link(link(Role::Coordinator)).await.unwrap().into_inner();
    assert_eq!(link.url, format!("{PUBLIC_URL}{}", link.token));
    assert_eq!(link.expire_time, invitation.expire_time);

    let opened =
        panel.invitations.open_invitation(customer(OpenInvitationRequest { token: link.token })).await;
    let opened = opened.unwrap().into_inner();
    assert_eq!(opened.expire_time, invitation.expire_time);
    let version = opened.questionnaire_version.unwrap();
    assert_eq!(version.name, format!("{SEEDED}/versions/1"));
    assert_eq!(version.questions[0].prompt.as_ref().unwrap().texts.len(), 2);
}

#[tokio::test]
async fn the_link_of_an_invitation_stays_the_same_whatever_becomes_of_it() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let before = panel.token(&invitation.name).await;
    panel.answered(&invitation.name, vec![rating("handling", 4)]).await;
    panel.kit.clock.advance(20 * DAY);
    assert_eq!(panel.token(&invitation.name).await, before);
}

#[tokio::test]
async fn the_token_is_nowhere_in_the_database() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let token = panel.token(&invitation.name).await;
    panel.answered(&invitation.name, vec![rating("handling", 4)]).await;
    let tables = panel
        .kit
        .rows(
            "SELECT to_jsonb(table_name)::text AS row FROM information_schema.tables \
             WHERE table_schema = current_schema()",
        )
        .await;
    assert!(tables.len() > 10);
    for table in tables {
        let table = table.as_str().unwrap();
        for row in panel.kit.rows(&format!("SELECT to_jsonb(it)::text AS row FROM {table} AS it")).await {
            let row = row.to_string();
            assert!(!row.contains(&token), "{table}: {row}");
            // Bytes are shown in hex.
            let hex: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
            assert!(!row.contains(&hex), "{table}: {row}");
        }
    }
}

#[tokio::test]
async fn wrong_tokens_of_every_kind_are_answered_with_the_same_bytes() {
    let mut panel = Panel::open().await;
    let first = panel.invited(invite_about_complaint()).await;
    let second =
        panel.invited(CreateInvitationRequest { customer: any_customer(), ..invite_about_complaint() }).await;
    let (first, second) = (panel.token(&first.name).await, panel.token(&second.name).await);
    // 16 bytes of id are 21 characters and a part of the 22nd: the id of the one, the signature of the other.
    let mixed = format!("{}{}", &first[..22], &second[22..]);
    let truncated = first[..60].to_owned();
    let wrong = [
        mixed,
        truncated,
        "A".repeat(64),
        format!("{first}A"),
        format!("{first}="),
        "你好".into(),
        " ".into(),
    ];
    let mut answers = Vec::new();
    for token in wrong {
        let open = OpenInvitationRequest { token: token.clone() };
        let status = panel.invitations.open_invitation(customer(open)).await.unwrap_err();
        answers.push((token.clone(), status));
        let status = panel.responses.submit_response(customer(submit(&token, Vec::new()))).await.unwrap_err();
        answers.push((token, status));
    }
    for (token, status) in &answers {
        assert_eq!(status.code(), Code::NotFound, "{token}");
        let same = (status.message(), status.details()) == (answers[0].1.message(), answers[0].1.details());
        assert!(same, "{token}: {status:?}");
    }
    let failure = cqm_rpc::Failure::of(&answers[0].1);
    assert_eq!(
        (failure.reason.as_str(), failure.facts["name"].as_str()),
        ("INVITATION_NOT_FOUND", "invitations/-")
    );
}

#[tokio::test]
async fn nobody_is_asked_the_same_twice_also_under_another_request_id() {
    let mut panel = Panel::open().await;
    let message = || CreateInvitationRequest { request_id: request_id(), ..invite_about_complaint() };
    let first = panel.invited(message()).await;
    let again = panel.invitations.create_invitation(manager(message())).await.unwrap().into_inner();
    assert_eq!(again, first);
    // Also when it has been answered and the questionnaire is no more.
    panel.answered(&first.name, vec![rating("handling", 4)]).await;
    let retire = RetireQuestionnaireRequest { name: SEEDED.to_owned(), ..Default::default() };
    panel.questionnaires.retire_questionnaire(manager(retire)).await.unwrap();
    let by_name = CreateInvitationRequest { target: invite_to(SEEDED).target, ..message() };
    let again = panel.invitations.create_invitation(manager(by_name)).await.unwrap().into_inner();
    assert_eq!((again.name.as_str(), again.state()), (first.name.as_str(), invitation::State::Answered));
    assert_eq!(panel.kit.count("invitations").await, 1);
}

#[tokio::test]
async fn another_customer_subject_version_or_questionnaire_is_another_invitation() {
    let mut panel = Panel::open().await;
    let other = panel.published(every_kind()).await;
    let base = invite_about_complaint();
    let mut names = std::collections::HashSet::new();
    for message in [
        base.clone(),
        CreateInvitationRequest { customer: any_customer(), ..base.clone() },
        CreateInvitationRequest { subject_version: 3, ..base.clone() },
        CreateInvitationRequest { subject: format!("complaints/{NOBODY}"), ..base.clone() },
        CreateInvitationRequest { subject: String::new(), subject_version: 0, ..base.clone() },
        CreateInvitationRequest { target: invite_to(&other.name).target, ..base },
    ] {
        assert!(names.insert(panel.invited(message).await.name));
    }
    assert_eq!(panel.kit.count("invitations").await, 6);
}

#[tokio::test]
async fn only_the_suite_itself_gets_links() {
    let mut panel = Panel::open().await;
    let invitation = panel.invited(invite_about_complaint()).await;
    let message = GetInvitationLinkRequest { name: invitation.name };
    let outcome = panel.invitations.get_invitation_link(manager(message)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}

#[tokio::test]
async fn a_link_reaches_its_own_invitation_and_nothing_else() {
    let mut panel = Panel::open().await;
    let mine = panel.invited(invite_about_complaint()).await;
    let theirs =
        panel.invited(CreateInvitationRequest { customer: any_customer(), ..invite_about_complaint() }).await;
    let token = panel.token(&mine.name).await;
    let opened =
        panel.invitations.open_invitation(customer(OpenInvitationRequest { token: token.clone() })).await;
    // The questions, and nothing of who is asked, about what, or by which name.
    let opened = opened.unwrap().into_inner();
    assert_eq!(opened.questionnaire_version.unwrap().name, mine.questionnaire_version);
    let answers = vec![rating("handling", 4)];
    let submitted = panel.responses.submit_response(customer(submit(&token, answers.clone()))).await;
    let response = submitted.unwrap().into_inner().response;
    panel.kit.events.next().await;

    assert_eq!(panel.response(&response).await.invitation, mine.name);
    assert_eq!(panel.invitation(&theirs.name).await.state(), invitation::State::Pending);
    // Once: the link has done what it was made for, and reads nothing back.
    let open = customer(OpenInvitationRequest { token: token.clone() });
    refused(panel.invitations.open_invitation(open).await, Code::FailedPrecondition, "INVITATION_ANSWERED");
    let get = GetResponseRequest { name: response };
    refused(panel.responses.get_response(customer(get)).await, Code::Unauthenticated, "CREDENTIALS_MISSING");
    let get = GetInvitationRequest { name: mine.name };
    refused(
        panel.invitations.get_invitation(customer(get)).await,
        Code::Unauthenticated,
        "CREDENTIALS_MISSING",
    );
}
