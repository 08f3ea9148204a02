use cqm_proto::surveys::v1::*;
use prost_types::Timestamp;
use tonic::Code;

use crate::panel::*;

async fn summarize(panel: &Panel, message: SummarizeResponsesRequest) -> SummarizeResponsesResponse {
    panel.responses.clone().summarize_responses(manager(message)).await.unwrap().into_inner()
}

fn summary_of(questionnaire: &str) -> SummarizeResponsesRequest {
    SummarizeResponsesRequest { questionnaire: questionnaire.to_owned(), ..Default::default() }
}

fn counts(summary: &QuestionSummary) -> Vec<(&str, i64)> {
    summary.counts.iter().map(|count| (count.value.as_str(), count.count)).collect()
}

#[tokio::test]
async fn responses_are_summed_up_question_by_question() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    for (value, likelihood, picked) in
        [(5, Some(10), &["x", "y"][..]), (4, Some(9), &["y"]), (1, Some(3), &[]), (5, None, &["y"])]
    {
        let invitation = panel.invited_to(&name).await;
        let mut answers = vec![rating("rate", value), picks("some", picked)];
        answers.extend(likelihood.map(|value| answer("nps", answer::Value::Nps(value))));
        if value == 1 {
            answers.push(answer("words", answer::Value::Text("bad".to_owned())));
            answers.push(answer("one", answer::Value::Choice("b".to_owned())));
        }
        panel.answered(&invitation.name, answers).await;
    }
    let summary = summarize(&panel, summary_of(&name)).await;
    assert_eq!(summary.questionnaire_version, format!("{name}/versions/1"));
    assert_eq!((summary.responses, summary.dissatisfied), (4, 1));
    let [one, some, rate, nps, words] = summary.questions.as_slice() else { panic!("five questions") };
    assert_eq!((one.answered, one.omitted, counts(one)), (1, 3, vec![("a", 0), ("b", 1)]));
    assert_eq!((some.answered, some.omitted, counts(some)), (3, 1, vec![("x", 1), ("y", 3), ("z", 0)]));
    assert_eq!((rate.answered, rate.omitted), (4, 0));
    assert_eq!(counts(rate), [("1", 1), ("2", 0), ("3", 0), ("4", 1), ("5", 2)]);
    // Wilson's interval of 3 of 4, and the mean of 5, 4, 1 and 5.
    let csat = CsatScore {
        n: 4,
        positive: 3,
        positive_from: 4,
        score_basis_points: 7500,
        interval_low_basis_points: 3006,
        interval_high_basis_points: 9544,
        mean_milli: 3750,
    };
    assert_eq!((rate.csat, rate.nps), (Some(csat), None));
    let score = nps.nps.unwrap();
    assert_eq!((score.n, score.promoters, score.passives, score.detractors), (3, 2, 0, 1));
    assert_eq!((score.score_basis_points, nps.omitted, nps.csat), (3333, 1, None));
    assert!(score.interval_low_basis_points < 3333 && score.margin_basis_points > 0);
    assert_eq!((words.answered, words.omitted, words.counts.len()), (1, 3, 0));
}

#[tokio::test]
async fn versions_are_never_mixed_and_the_latest_is_the_default() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let invitation = panel.invited_to(&name).await;
    panel.answered(&invitation.name, vec![rating("rate", 5)]).await;
    panel.questionnaires.publish_questionnaire(manager(publish(&name))).await.unwrap();
    panel.kit.events.next().await;
    let invitation = panel.invited_to(&name).await;
    panel.answered(&invitation.name, vec![rating("rate", 1)]).await;

    for (version, number, mean) in [(0, 2, 1000), (1, 1, 5000), (2, 2, 1000)] {
        let summary = summarize(&panel, SummarizeResponsesRequest { version, ..summary_of(&name) }).await;
        assert_eq!(summary.questionnaire_version, format!("{name}/versions/{number}"));
        assert_eq!((summary.responses, summary.questions[2].csat.unwrap().mean_milli), (1, mean));
    }
    let outcome = panel
        .responses
        .summarize_responses(manager(SummarizeResponsesRequest { version: 3, ..summary_of(&name) }))
        .await;
    let failure = refused(outcome, Code::NotFound, "QUESTIONNAIRE_VERSION_NOT_FOUND");
    assert_eq!(failure.facts["name"], format!("{name}/versions/3"));
    let outcome =
        panel.responses.summarize_responses(manager(summary_of(&format!("questionnaires/{NOBODY}")))).await;
    refused(outcome, Code::NotFound, "QUESTIONNAIRE_NOT_FOUND");
}

#[tokio::test]
async fn a_summary_is_of_the_time_that_was_asked_for() {
    let mut panel = Panel::open().await;
    let name = panel.published(every_kind()).await.name;
    let mut times: Vec<Timestamp> = Vec::new();
    for value in 1..=3 {
        let invitation = panel.invited_to(&name).await;
        times
            .push(panel.answered(&invitation.name, vec![rating("rate", value)]).await.0.create_time.unwrap());
        panel.kit.clock.advance(DAY);
    }
    for (start, end, expected) in [
        (None, None, 3),
        (Some(times[1]), None, 2),
        (None, Some(times[1]), 1),
        (Some(times[1]), Some(times[2]), 1),
        (Some(times[1]), Some(times[1]), 0),
    ] {
        let message = SummarizeResponsesRequest { start_time: start, end_time: end, ..summary_of(&name) };
        let summary = summarize(&panel, message).await;
        assert_eq!(
            (summary.responses, summary.questions[2].answered),
            (expected, expected),
            "{start:?} {end:?}"
        );
        assert_eq!(summary.questions[2].csat.is_some(), expected > 0);
    }
    let wrong = SummarizeResponsesRequest {
        version: -1,
        start_time: Some(times[1]),
        end_time: Some(times[0]),
        ..summary_of("x")
    };
    let expected = ["questionnaire FIELD_FORMAT", "version FIELD_RANGE", "start_time FIELD_ORDER"];
    assert_eq!(violations(panel.responses.summarize_responses(manager(wrong)).await), expected);
    let wrong = SummarizeResponsesRequest {
        start_time: Some(Timestamp { seconds: 0, nanos: -1 }),
        ..summary_of(&name)
    };
    let outcome = panel.responses.summarize_responses(manager(wrong)).await;
    assert_eq!(violations(outcome), ["start_time FIELD_RANGE"]);
}
