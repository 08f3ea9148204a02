use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;

use crate::panel::*;

/// Reads a list to its end by pages of two and returns the names, in order.
macro_rules! pages {
    ($client:expr, $method:ident, $items:ident, $message:expr) => {{
        let mut message = $message;
        message.page_size = 2;
        let mut names = Vec::new();
        loop {
            let page = $client.clone().$method(manager(message.clone())).await.unwrap().into_inner();
            assert!(page.$items.len() <= 2);
            names.extend(page.$items.into_iter().map(|item| item.name));
            if page.next_page_token.is_empty() {
                break names;
            }
            message.page_token = page.next_page_token;
        }
    }};
}

fn newest_first(names: &[String]) -> Vec<String> {
    names.iter().rev().cloned().collect()
}

#[tokio::test]
async fn questionnaires_are_listed_newest_first_by_purpose_and_state() {
    let mut panel = Panel::open().await;
    let mut names = vec![SEEDED.to_owned()];
    for _ in 0..2 {
        names.push(panel.drafted(every_kind()).await.name);
    }
    names.push(panel.published(every_kind()).await.name);
    names.push(panel.drafted(Questionnaire { purpose: Purpose::Demand.into(), ..every_kind() }).await.name);

    let (satisfaction, draft) = (Purpose::Satisfaction.into(), questionnaire::State::Draft.into());
    let all = ListQuestionnairesRequest::default();
    for (message, expected) in [
        (all.clone(), newest_first(&names)),
        (ListQuestionnairesRequest { purpose: satisfaction, ..all.clone() }, newest_first(&names[1..4])),
        (
            ListQuestionnairesRequest { state: draft, ..all.clone() },
            vec![names[4].clone(), names[2].clone(), names[1].clone()],
        ),
        (
            ListQuestionnairesRequest { purpose: satisfaction, state: draft, ..all },
            newest_first(&names[1..3]),
        ),
    ] {
        assert_eq!(pages!(panel.questionnaires, list_questionnaires, questionnaires, message), expected);
    }
}

#[tokio::test]
async fn invitations_are_listed_newest_first_by_customer_subject_and_state() {
    let mut panel = Panel::open().await;
    let mut names = Vec::new();
    for subject_version in 1..=3 {
        let message = CreateInvitationRequest { subject_version, ..invite_about_complaint() };
        names.push(panel.invited(message).await.name);
    }
    let other = CreateInvitationRequest { customer: any_customer(), ..invite_about_complaint() };
    names.push(panel.invited(other).await.name);
    panel.answered(&names[1], vec![rating("handling", 4)]).await;

    let (all, customer) = (ListInvitationsRequest::default(), CUSTOMER.to_owned());
    let pending = invitation::State::Pending.into();
    for (message, expected) in [
        (all.clone(), newest_first(&names)),
        (ListInvitationsRequest { customer: customer.clone(), ..all.clone() }, newest_first(&names[..3])),
        (ListInvitationsRequest { subject: COMPLAINT.to_owned(), ..all.clone() }, newest_first(&names)),
        (ListInvitationsRequest { subject: format!("complaints/{NOBODY}"), ..all.clone() }, Vec::new()),
        (
            ListInvitationsRequest { state: pending, ..all.clone() },
            vec![names[3].clone(), names[2].clone(), names[0].clone()],
        ),
        (
            ListInvitationsRequest { customer, state: pending, subject: COMPLAINT.to_owned(), ..all },
            vec![names[2].clone(), names[0].clone()],
        ),
    ] {
        assert_eq!(pages!(panel.invitations, list_invitations, invitations, message), expected);
    }
}

#[tokio::test]
async fn responses_are_listed_newest_first_with_their_answers() {
    let mut panel = Panel::open().await;
    let own = panel.published(every_kind()).await.name;
    let mut names = Vec::new();
    for value in 1..=3 {
        let message = CreateInvitationRequest { subject_version: value.into(), ..invite_about_complaint() };
        let invitation = panel.invited(message).await;
        names.push(panel.answered(&invitation.name, vec![rating("handling", value)]).await.0.response);
    }
    let invitation = panel.invited_to(&own).await;
    names.push(
        panel.answered(&invitation.name, vec![picks("some", &["x"]), rating("rate", 5)]).await.0.response,
    );

    let all = ListResponsesRequest::default();
    for (message, expected) in [
        (all.clone(), newest_first(&names)),
        (ListResponsesRequest { customer: CUSTOMER.to_owned(), ..all.clone() }, newest_first(&names[..3])),
        (ListResponsesRequest { questionnaire: own, ..all.clone() }, newest_first(&names[3..])),
        (ListResponsesRequest { subject: COMPLAINT.to_owned(), ..all.clone() }, newest_first(&names[..3])),
    ] {
        assert_eq!(pages!(panel.responses, list_responses, responses, message), expected);
    }
    let listed = panel.responses.list_responses(manager(all)).await.unwrap().into_inner().responses;
    for response in listed {
        assert_eq!(panel.response(&response.name).await, response);
        assert!(!response.answers.is_empty());
    }
}

#[tokio::test]
async fn a_page_of_large_questionnaires_ends_before_it_outgrows_a_message() {
    let mut panel = Panel::open().await;
    // 50 questions of some 1000 characters are about 51 KiB; 60 of them are over 3 MiB.
    let long = |index: usize| Question {
        prompt: text(&"x".repeat(1000)),
        ..question(&format!("q{index}"), false, question::Kind::FreeText(FreeText::default()))
    };
    let large = Questionnaire { questions: (0..50).map(long).collect(), ..every_kind() };
    for _ in 0..60 {
        panel.drafted(large.clone()).await;
    }
    let mut message = ListQuestionnairesRequest { page_size: 200, ..Default::default() };
    let mut sizes = Vec::new();
    loop {
        let page =
            panel.questionnaires.list_questionnaires(manager(message.clone())).await.unwrap().into_inner();
        sizes.push(page.questionnaires.len());
        if page.next_page_token.is_empty() {
            break;
        }
        message.page_token = page.next_page_token;
    }
    assert_eq!(sizes.iter().sum::<usize>(), 61);
    assert!(sizes.len() > 1 && sizes[0] > 10, "{sizes:?}");
    assert!(panel.kit.events.next().await.is_empty());
}

#[tokio::test]
async fn a_version_is_looked_up_by_its_name() {
    let mut panel = Panel::open().await;
    let draft = panel.drafted(every_kind()).await;
    let get = |name: String| manager(GetQuestionnaireVersionRequest { name });
    let absent = format!("{}/versions/1", draft.name);
    let outcome = panel.questionnaires.get_questionnaire_version(get(absent.clone())).await;
    let failure = refused(outcome, tonic::Code::NotFound, "QUESTIONNAIRE_VERSION_NOT_FOUND");
    assert_eq!(failure.facts["name"], absent);
    panel.questionnaires.publish_questionnaire(manager(publish(&draft.name))).await.unwrap();
    panel.kit.events.only::<events::QuestionnairePublished>().await;
    panel.questionnaires.get_questionnaire_version(get(absent.clone())).await.unwrap();
    for name in
        ["versions/0", "versions/01", "versions/+1", "versions/-1", "versions/99999999999", "versions/", "1"]
    {
        let outcome =
            panel.questionnaires.get_questionnaire_version(get(format!("{}/{name}", draft.name))).await;
        assert_eq!(violations(outcome), ["name FIELD_FORMAT"], "{name}");
    }
}
