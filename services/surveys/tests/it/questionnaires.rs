use cqm_proto::events::v1 as events;
use cqm_proto::surveys::v1::*;
use diesel_async::SimpleAsyncConnection;
use prost_types::FieldMask;
use tonic::Code;

use crate::panel::*;

fn update(name: &str, content: Questionnaire, paths: &[&str]) -> UpdateQuestionnaireRequest {
    UpdateQuestionnaireRequest {
        questionnaire: Some(Questionnaire { name: name.to_owned(), ..content }),
        update_mask: (!paths.is_empty())
            .then(|| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() }),
        ..Default::default()
    }
}

async fn version(panel: &Panel, name: &str) -> QuestionnaireVersion {
    let message = GetQuestionnaireVersionRequest { name: name.to_owned() };
    panel.questionnaires.clone().get_questionnaire_version(manager(message)).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_draft_is_kept_as_it_was_given_with_its_defaults_filled_in() {
    let panel = Panel::open().await;
    let draft = panel.drafted(every_kind()).await;
    assert_eq!(
        (draft.state(), draft.latest_version, draft.etag.as_str()),
        (questionnaire::State::Draft, 0, "v1")
    );
    let found = panel
        .questionnaires
        .clone()
        .get_questionnaire(manager(GetQuestionnaireRequest { name: draft.name.clone() }))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(found, draft);
    // What stands for itself comes back; 0 comes back as what it stood for.
    let given = every_kind();
    for index in [0, 3, 4] {
        assert_eq!(draft.questions[index], given.questions[index]);
    }
    let Some(question::Kind::Rating(rating)) = &draft.questions[2].kind else { panic!("a rating") };
    assert_eq!((rating.scale_max, rating.positive_from), (5, 4));
    let row = panel.row(&draft.name).await;
    assert_eq!((&row["state"], &row["purpose"]), (&"DRAFT".into(), &"SATISFACTION".into()));
    assert_eq!(row["content"]["questions"][4]["kind"]["max_length"], 10);
}

#[tokio::test]
async fn publishing_makes_a_version_and_tells_so() {
    let mut panel = Panel::open().await;
    let draft = panel.drafted(every_kind()).await;
    let published =
        panel.questionnaires.publish_questionnaire(manager(publish(&draft.name))).await.unwrap().into_inner();
    assert_eq!(
        (published.state(), published.latest_version, published.etag.as_str()),
        (questionnaire::State::Published, 1, "v2")
    );
    let (event, payload) = panel.kit.events.only::<events::QuestionnairePublished>().await;
    assert_eq!((event.aggregate, event.aggregate_version), (draft.name.clone(), 2));
    assert_eq!(payload.questionnaire_version, format!("{}/versions/1", draft.name));
    let version = version(&panel, &payload.questionnaire_version).await;
    assert_eq!(version.questions, draft.questions);
    assert_eq!((version.purpose(), version.title), (Purpose::Satisfaction, draft.title));
}

#[tokio::test]
async fn a_published_version_keeps_what_it_was_published_with() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let first = version(&panel, &format!("{name}/versions/1")).await;
    let shorter = Questionnaire { questions: every_kind().questions[2..3].to_vec(), ..Default::default() };
    let updated = panel.questionnaires.update_questionnaire(manager(update(&name, shorter, &[]))).await;
    let updated = updated.unwrap().into_inner();
    assert_eq!(
        (updated.questions.len(), updated.title, updated.etag.as_str()),
        (1, every_kind().title, "v3")
    );
    assert_eq!(version(&panel, &format!("{name}/versions/1")).await, first);

    panel.questionnaires.publish_questionnaire(manager(publish(&name))).await.unwrap();
    panel.kit.events.only::<events::QuestionnairePublished>().await;
    assert_eq!(version(&panel, &format!("{name}/versions/1")).await, first);
    assert_eq!(version(&panel, &format!("{name}/versions/2")).await.questions.len(), 1);
}

#[tokio::test]
async fn the_database_refuses_to_change_a_published_version() {
    let mut panel = Panel::open().await;
    panel.published(every_kind()).await;
    let before = panel
        .kit
        .rows("SELECT to_jsonb(questionnaire_versions)::text AS row FROM questionnaire_versions")
        .await;
    let mut conn = panel.connection().await;
    for statement in [
        "UPDATE questionnaire_versions SET content = '{}'",
        "UPDATE questionnaire_versions SET create_time = create_time",
        "DELETE FROM questionnaire_versions",
        "TRUNCATE questionnaire_versions CASCADE",
    ] {
        let error = conn.batch_execute(statement).await.unwrap_err().to_string();
        assert!(error.contains("its rows never change"), "{statement}: {error}");
    }
    let after = panel
        .kit
        .rows("SELECT to_jsonb(questionnaire_versions)::text AS row FROM questionnaire_versions")
        .await;
    assert_eq!(after, before);
}

#[tokio::test]
async fn every_installation_has_a_questionnaire_on_the_handling_of_complaints() {
    let panel = Panel::open().await;
    let version = version(&panel, &format!("{SEEDED}/versions/1")).await;
    assert_eq!((version.purpose(), version.incentive), (Purpose::ComplaintHandling, true));
    let ids: Vec<_> =
        version.questions.iter().map(|question| (question.id.as_str(), question.required)).collect();
    assert_eq!(ids, [("handling", true), ("recommend", false), ("comment", false)]);
    let Some(question::Kind::Rating(rating)) = &version.questions[0].kind else { panic!("a rating") };
    assert_eq!((rating.scale_max, rating.positive_from), (5, 4));
    let prompt = &version.questions[0].prompt.as_ref().unwrap().texts;
    assert_eq!(prompt["zh-CN"], "您对本次投诉处理的满意程度");
    for question in &version.questions {
        let languages: Vec<_> = question.prompt.as_ref().unwrap().texts.keys().collect();
        assert_eq!(languages, ["en", "zh-CN"]);
    }
    // It can be changed like any other, so what is stored reads as what the service itself would store.
    let content =
        Questionnaire { questions: version.questions.clone(), title: version.title, ..Default::default() };
    let message = update(SEEDED, content, &["title", "questions"]);
    let same =
        panel.questionnaires.clone().update_questionnaire(manager(message)).await.unwrap().into_inner();
    assert_eq!((same.etag.as_str(), same.state()), ("v1", questionnaire::State::Published));
}

#[tokio::test]
async fn a_mask_names_what_an_update_writes() {
    let mut panel = Panel::open().await;
    let name = panel.drafted(every_kind()).await.name;
    let other = Questionnaire { title: text("Other"), incentive: true, ..Default::default() };
    let mut apply = async |paths: &[&str]| {
        let answer =
            panel.questionnaires.update_questionnaire(manager(update(&name, other.clone(), paths))).await;
        answer.unwrap().into_inner()
    };
    let title_alone = apply(&["title"]).await;
    assert_eq!(
        (title_alone.title, title_alone.incentive, title_alone.questions.len()),
        (text("Other"), false, 5)
    );
    let populated = apply(&[]).await;
    assert_eq!((populated.incentive, populated.questions.len()), (true, 5));
    let all = apply(&["*"]).await;
    assert_eq!((all.questions.len(), all.etag.as_str()), (0, "v4"));
}

#[tokio::test]
async fn a_retired_questionnaire_moves_no_more() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let invitation = panel.invited_to(&name).await;
    let retire = RetireQuestionnaireRequest { name: name.clone(), ..Default::default() };
    let retired =
        panel.questionnaires.retire_questionnaire(manager(retire.clone())).await.unwrap().into_inner();
    assert_eq!((retired.state(), retired.etag.as_str()), (questionnaire::State::Retired, "v3"));

    let state = |failure: cqm_rpc::Failure, action: &str| {
        assert_eq!((failure.facts["state"].as_str(), failure.facts["action"].as_str()), ("RETIRED", action));
        assert_eq!(failure.domain, "cqm.surveys.v1");
    };
    let outcome = panel.questionnaires.retire_questionnaire(manager(retire)).await;
    state(refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_STATE"), "retire");
    let outcome = panel.questionnaires.publish_questionnaire(manager(publish(&name))).await;
    state(refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_STATE"), "publish");
    let outcome = panel.questionnaires.update_questionnaire(manager(update(&name, every_kind(), &[]))).await;
    state(refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_STATE"), "update");
    let another = CreateInvitationRequest { customer: any_customer(), ..invite_to(&name) };
    let outcome = panel.invitations.create_invitation(manager(another)).await;
    state(refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_STATE"), "invite");

    // Who was asked before can still answer.
    let (_, accepted) = panel.answered(&invitation.name, vec![rating("rate", 5)]).await;
    assert!(!accepted.dissatisfied && !accepted.incentive);
}

#[tokio::test]
async fn a_questionnaire_without_questions_is_not_published() {
    let mut panel = Panel::open().await;
    let draft = panel.drafted(Questionnaire { questions: Vec::new(), ..every_kind() }).await;
    let outcome = panel.questionnaires.publish_questionnaire(manager(publish(&draft.name))).await;
    refused(outcome, Code::FailedPrecondition, "QUESTIONNAIRE_EMPTY");
    assert_eq!(panel.row(&draft.name).await["version"], 1);
}

#[tokio::test]
async fn an_etag_of_another_version_is_refused() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let stale = PublishQuestionnaireRequest { etag: "v1".to_owned(), ..publish(&name) };
    let failure = refused(
        panel.questionnaires.publish_questionnaire(manager(stale)).await,
        Code::Aborted,
        "ETAG_MISMATCH",
    );
    assert_eq!(failure.facts["name"], name);
    let mut message = update(&name, Questionnaire { incentive: true, ..Default::default() }, &[]);
    message.etag = "v1".to_owned();
    let outcome = panel.questionnaires.update_questionnaire(manager(message.clone())).await;
    refused(outcome, Code::Aborted, "ETAG_MISMATCH");
    let retire = RetireQuestionnaireRequest { name, etag: "v3".to_owned(), ..Default::default() };
    refused(panel.questionnaires.retire_questionnaire(manager(retire)).await, Code::Aborted, "ETAG_MISMATCH");
    message.etag = "v2".to_owned();
    assert_eq!(
        panel.questionnaires.update_questionnaire(manager(message)).await.unwrap().into_inner().etag,
        "v3"
    );
}
