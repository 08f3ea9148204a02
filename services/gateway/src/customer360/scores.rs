//! What a customer's latest responses say of them.

use cqm_proto::gateway::v1::SurveyScores;
use cqm_proto::surveys::v1::Response;
use cqm_proto::surveys::v1::answer::Value;

/// Over responses, the newest first; nothing over none.
pub(super) fn of(responses: &[Response]) -> Option<SurveyScores> {
    if responses.is_empty() {
        return None;
    }
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    let nps = responses.iter().find_map(|response| {
        let mut answers = response.answers.iter();
        answers.find_map(|answer| match answer.value {
            Some(Value::Nps(nps)) => Some((nps, response.create_time)),
            _ => None,
        })
    });
    Some(SurveyScores {
        responses: count(responses.len()),
        dissatisfied: count(responses.iter().filter(|response| response.dissatisfied).count()),
        latest_nps: nps.map(|(nps, _)| nps),
        latest_nps_time: nps.and_then(|(_, time)| time),
    })
}

#[cfg(test)]
mod tests {
    use cqm_proto::surveys::v1::Answer;
    use prost_types::Timestamp;

    use super::*;

    fn response(seconds: i64, dissatisfied: bool, value: Value) -> Response {
        Response {
            answers: vec![Answer { question_id: "q".to_owned(), value: Some(value) }],
            dissatisfied,
            create_time: Some(Timestamp { seconds, nanos: 0 }),
            ..Default::default()
        }
    }

    #[test]
    fn the_latest_recommendation_stands_for_the_customer() {
        let responses = [
            response(30, true, Value::Rating(1)),
            response(20, false, Value::Nps(9)),
            response(10, true, Value::Nps(2)),
        ];
        let scores = of(&responses).unwrap();
        assert_eq!((scores.responses, scores.dissatisfied, scores.latest_nps), (3, 2, Some(9)));
        assert_eq!(scores.latest_nps_time.unwrap().seconds, 20);
        assert_eq!(of(&responses[..1]).unwrap().latest_nps, None);
        assert_eq!(of(&[]), None);
    }
}
