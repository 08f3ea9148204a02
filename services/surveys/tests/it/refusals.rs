use cqm_proto::surveys::v1::*;
use cqm_rpc::Role;
use cqm_testkit::request;
use tonic::Code;

use crate::panel::*;

#[tokio::test]
async fn everything_that_is_wrong_with_an_invitation_is_told_at_once() {
    use create_invitation_request::Target;
    let panel = Panel::open().await;
    let invite =
        async |message| violations(panel.invitations.clone().create_invitation(manager(message)).await);
    assert_eq!(
        invite(CreateInvitationRequest::default()).await,
        ["customer FIELD_REQUIRED", "target FIELD_REQUIRED"]
    );
    let wrong = CreateInvitationRequest {
        customer: "customers/1".to_owned(),
        target: Some(Target::Questionnaire(CUSTOMER.to_owned())),
        subject: "a complaint".to_owned(),
        subject_version: -1,
        ttl: Some(prost_types::Duration { seconds: 59, nanos: 999_999_999 }),
        ..Default::default()
    };
    let expected_all = [
        "customer FIELD_FORMAT",
        "questionnaire FIELD_FORMAT",
        "subject FIELD_FORMAT",
        "subject_version FIELD_RANGE",
        "ttl FIELD_RANGE",
    ];
    assert_eq!(invite(wrong).await, expected_all);
    for number in [0, 99, -1] {
        let message =
            CreateInvitationRequest { target: Some(Target::Purpose(number)), ..invite_about_complaint() };
        assert_eq!(invite(message).await, ["purpose ENUM_UNKNOWN"]);
    }
    for (seconds, nanos) in
        [(367 * 86_400, 0), (i64::MAX, 0), (i64::MIN, 0), (-60, 0), (60, -1), (366 * 86_400, 1000)]
    {
        let ttl = Some(prost_types::Duration { seconds, nanos });
        let message = CreateInvitationRequest { ttl, ..invite_about_complaint() };
        assert_eq!(invite(message).await, ["ttl FIELD_RANGE"], "{seconds} {nanos}");
    }
}

#[tokio::test]
async fn names_that_are_none_are_refused_and_names_of_nobody_are_not_found() {
    let panel = Panel::open().await;
    macro_rules! names {
        ($client:ident.$method:ident, $message:ident { $field:ident $($rest:tt)* }, $collection:literal, $reason:literal) => {{
            let call = async |name: String| {
                let message = $message { $field: name $($rest)* };
                panel.$client.clone().$method(request(Role::InternalService, message)).await
            };
            let field = stringify!($field);
            let required = violations(call(String::new()).await);
            assert_eq!(required, [format!("{field} FIELD_REQUIRED")]);
            for name in ["x", concat!($collection, "/1"), COMPLAINT] {
                let format = violations(call(name.to_owned()).await);
                assert_eq!(format, [format!("{field} FIELD_FORMAT")], "{name}");
            }
            let nobody = format!("{}/{NOBODY}", $collection);
            let failure = refused(call(nobody.clone()).await, Code::NotFound, $reason);
            assert_eq!(failure.facts["name"], nobody);
            assert_eq!(failure.domain, "cqm.surveys.v1");
        }};
    }
    macro_rules! questionnaires {
        ($client:ident.$method:ident, $message:ident $fields:tt) => {
            names!($client.$method, $message $fields, "questionnaires", "QUESTIONNAIRE_NOT_FOUND")
        };
    }
    questionnaires!(questionnaires.get_questionnaire, GetQuestionnaireRequest { name });
    questionnaires!(
        questionnaires.publish_questionnaire,
        PublishQuestionnaireRequest { name, ..Default::default() }
    );
    questionnaires!(
        questionnaires.retire_questionnaire,
        RetireQuestionnaireRequest { name, ..Default::default() }
    );
    questionnaires!(
        responses.summarize_responses,
        SummarizeResponsesRequest { questionnaire, ..Default::default() }
    );
    names!(invitations.get_invitation, GetInvitationRequest { name }, "invitations", "INVITATION_NOT_FOUND");
    names!(
        invitations.get_invitation_link,
        GetInvitationLinkRequest { name },
        "invitations",
        "INVITATION_NOT_FOUND"
    );
    names!(responses.get_response, GetResponseRequest { name }, "responses", "RESPONSE_NOT_FOUND");
}

#[tokio::test]
async fn lists_refuse_what_they_cannot_read() {
    let mut panel = Panel::open().await;
    for subject_version in 1..=2 {
        panel.invited(CreateInvitationRequest { subject_version, ..invite_about_complaint() }).await;
    }
    let wrong = ListInvitationsRequest {
        page_size: -1,
        page_token: "forged".to_owned(),
        customer: "x".to_owned(),
        subject: "x".to_owned(),
        state: 99,
    };
    let expected_all = [
        "customer FIELD_FORMAT",
        "subject FIELD_FORMAT",
        "state ENUM_UNKNOWN",
        "page_size FIELD_RANGE",
        "page_token PAGE_TOKEN_INVALID",
    ];
    assert_eq!(violations(panel.invitations.list_invitations(manager(wrong)).await), expected_all);
    let wrong = ListQuestionnairesRequest { page_size: -1, purpose: 99, state: 99, ..Default::default() };
    let expected_all = ["purpose ENUM_UNKNOWN", "state ENUM_UNKNOWN", "page_size FIELD_RANGE"];
    assert_eq!(violations(panel.questionnaires.list_questionnaires(manager(wrong)).await), expected_all);
    let wrong = ListResponsesRequest {
        page_size: -1,
        page_token: "AAAA".to_owned(),
        customer: "x".to_owned(),
        questionnaire: "x".to_owned(),
        subject: "x".to_owned(),
    };
    let expected_all = [
        "customer FIELD_FORMAT",
        "questionnaire FIELD_FORMAT",
        "subject FIELD_FORMAT",
        "page_size FIELD_RANGE",
        "page_token PAGE_TOKEN_INVALID",
    ];
    assert_eq!(violations(panel.responses.list_responses(manager(wrong)).await), expected_all);

    // A token is of its list and its filters.
    let first = ListInvitationsRequest { page_size: 1, ..Default::default() };
    let token =
        panel.invitations.list_invitations(manager(first)).await.unwrap().into_inner().next_page_token;
    let other = ListInvitationsRequest {
        page_token: token.clone(),
        customer: CUSTOMER.to_owned(),
        ..Default::default()
    };
    let outcome = panel.invitations.list_invitations(manager(other)).await;
    assert_eq!(violations(outcome), ["page_token PAGE_TOKEN_INVALID"]);
    let other = ListResponsesRequest { page_token: token, ..Default::default() };
    let outcome = panel.responses.list_responses(manager(other)).await;
    assert_eq!(violations(outcome), ["page_token PAGE_TOKEN_INVALID"]);
}

#[tokio::test]
async fn customers_and_strangers_reach_nothing_but_what_a_link_opens() {
    let mut panel = Panel::open().await;
    let message = ListInvitationsRequest::default();
    let outcome = panel.invitations.list_invitations(tonic::Request::new(message.clone())).await;
    refused(outcome, Code::Unauthenticated, "CREDENTIALS_MISSING");
    let outcome = panel.invitations.list_invitations(request(Role::Customer, message)).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
    let outcome =
        panel.invitations.create_invitation(request(Role::TechnicalSupport, invite_about_complaint())).await;
    refused(outcome, Code::PermissionDenied, "ROLE_MISSING");
}

#[tokio::test]
async fn a_request_id_must_be_a_uuid() {
    let mut panel = Panel::open().await;
    let wrong = "not a uuid".to_owned();
    let id = || ["request_id REQUEST_ID_FORMAT"];
    let message = CreateInvitationRequest { request_id: wrong.clone(), ..invite_about_complaint() };
    assert_eq!(violations(panel.invitations.create_invitation(manager(message)).await), id());
    let message = CreateQuestionnaireRequest { request_id: wrong.clone(), ..create(every_kind()) };
    assert_eq!(violations(panel.questionnaires.create_questionnaire(manager(message)).await), id());
    let message = SubmitResponseRequest { request_id: wrong, ..submit("token", Vec::new()) };
    assert_eq!(violations(panel.responses.submit_response(customer(message)).await), id());
}
