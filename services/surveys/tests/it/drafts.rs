use cqm_proto::surveys::v1::*;
use prost_types::FieldMask;

use crate::panel::*;

fn localized(texts: &[(&str, &str)]) -> Option<LocalizedText> {
    Some(LocalizedText {
        texts: texts.iter().map(|(tag, text)| ((*tag).to_owned(), (*text).to_owned())).collect(),
    })
}

/// A questionnaire with one question of this kind.
fn of(kind: question::Kind) -> Questionnaire {
    Questionnaire { questions: vec![question("q", false, kind)], ..every_kind() }
}

#[tokio::test]
async fn everything_that_is_wrong_with_a_draft_is_told_by_its_path() {
    use question::Kind;
    let panel = Panel::open().await;
    let scale = |scale_max, positive_from| {
        of(Kind::Rating(Rating { scale_max, positive_from, ..Default::default() }))
    };
    let single = |choices| of(Kind::SingleChoice(SingleChoice { choices }));
    let multiple = |min_choices, max_choices| {
        of(Kind::MultipleChoice(MultipleChoice { choices: choices(&["a", "b"]), min_choices, max_choices }))
    };
    let words = |max_length| of(Kind::FreeText(FreeText { max_length }));
    let with_id = |id: &str| Questionnaire {
        questions: vec![question(id, false, Kind::Nps(Nps::default()))],
        ..every_kind()
    };
    let titled = |title| Questionnaire { title, ..every_kind() };
    const Q: &str = "questionnaire.questions[0]";
    let table: Vec<(Questionnaire, Vec<(String, &str)>)> = vec![
        (
            Questionnaire::default(),
            vec![
                ("questionnaire.purpose".into(), "ENUM_UNKNOWN"),
                ("questionnaire.title".into(), "FIELD_REQUIRED"),
            ],
        ),
        (
            Questionnaire { purpose: 99, ..every_kind() },
            vec![("questionnaire.purpose".into(), "ENUM_UNKNOWN")],
        ),
        (titled(localized(&[])), vec![("questionnaire.title".into(), "FIELD_REQUIRED")]),
        (titled(localized(&[("fr", "Titre")])), vec![("questionnaire.title".into(), "FIELD_FORMAT")]),
        (
            titled(localized(&[("en", " ")])),
            vec![("questionnaire.title.texts[\"en\"]".into(), "FIELD_REQUIRED")],
        ),
        (
            titled(localized(&[("en", &"x".repeat(201))])),
            vec![("questionnaire.title.texts[\"en\"]".into(), "FIELD_TOO_LONG")],
        ),
        (
            titled(localized(&[("en", "a\u{0}b"), ("zh_CN", "标题")])),
            vec![
                ("questionnaire.title.texts[\"en\"]".into(), "FORBIDDEN_CHARACTER"),
                ("questionnaire.title.texts[\"zh_CN\"]".into(), "FIELD_FORMAT"),
            ],
        ),
        (
            Questionnaire { questions: vec![every_kind().questions[0].clone(); 51], ..every_kind() },
            vec![("questionnaire.questions".into(), "FIELD_TOO_LONG")],
        ),
        (
            Questionnaire { questions: vec![every_kind().questions[0].clone(); 2], ..every_kind() },
            vec![("questionnaire.questions[1].id".into(), "FIELD_FORMAT")],
        ),
        (
            Questionnaire { questions: vec![Question::default()], ..every_kind() },
            vec![
                (format!("{Q}.id"), "FIELD_REQUIRED"),
                (format!("{Q}.prompt"), "FIELD_REQUIRED"),
                (format!("{Q}.kind"), "FIELD_REQUIRED"),
            ],
        ),
        (with_id("Über uns"), vec![(format!("{Q}.id"), "FIELD_FORMAT")]),
        (with_id(&"x".repeat(65)), vec![(format!("{Q}.id"), "FIELD_TOO_LONG")]),
        (single(choices(&["a"])), vec![(format!("{Q}.single_choice.choices"), "FIELD_RANGE")]),
        (single(choices(&["a"; 51])), vec![(format!("{Q}.single_choice.choices"), "FIELD_RANGE")]),
        (single(choices(&["a", "a"])), vec![(format!("{Q}.single_choice.choices[1].id"), "FIELD_FORMAT")]),
        (
            single(vec![Choice::default(), Choice { id: "b".into(), label: text("b") }]),
            vec![
                (format!("{Q}.single_choice.choices[0].id"), "FIELD_REQUIRED"),
                (format!("{Q}.single_choice.choices[0].label"), "FIELD_REQUIRED"),
            ],
        ),
        (multiple(2, 1), vec![(format!("{Q}.multiple_choice.min_choices"), "FIELD_ORDER")]),
        (
            multiple(-1, 3),
            vec![
                (format!("{Q}.multiple_choice.min_choices"), "FIELD_RANGE"),
                (format!("{Q}.multiple_choice.max_choices"), "FIELD_RANGE"),
            ],
        ),
        (scale(1, 0), vec![(format!("{Q}.rating.scale_max"), "FIELD_RANGE")]),
        (scale(11, 0), vec![(format!("{Q}.rating.scale_max"), "FIELD_RANGE")]),
        (scale(i32::MIN, 0), vec![(format!("{Q}.rating.scale_max"), "FIELD_RANGE")]),
        (scale(5, 6), vec![(format!("{Q}.rating.positive_from"), "FIELD_RANGE")]),
        (scale(5, 1), vec![(format!("{Q}.rating.positive_from"), "FIELD_RANGE")]),
        (
            of(Kind::Nps(Nps { low_label: localized(&[("en", &"x".repeat(201))]), high_label: None })),
            vec![(format!("{Q}.nps.low_label.texts[\"en\"]"), "FIELD_TOO_LONG")],
        ),
        (words(-1), vec![(format!("{Q}.free_text.max_length"), "FIELD_RANGE")]),
        (words(5001), vec![(format!("{Q}.free_text.max_length"), "FIELD_RANGE")]),
    ];
    for (questionnaire, wrong) in table {
        let outcome = panel.questionnaires.clone().create_questionnaire(manager(create(questionnaire))).await;
        let wrong: Vec<_> = wrong.into_iter().map(|(field, reason)| format!("{field} {reason}")).collect();
        assert_eq!(violations(outcome), wrong);
    }
    let outcome = panel.questionnaires.clone().create_questionnaire(manager(Default::default())).await;
    assert_eq!(violations(outcome), ["questionnaire FIELD_REQUIRED"]);
    assert_eq!(panel.kit.count("questionnaires").await, 1);
}

#[tokio::test]
async fn no_more_than_sixteen_of_many_violations_are_told() {
    let panel = Panel::open().await;
    let many = Questionnaire { questions: vec![Question::default(); 50], ..every_kind() };
    let outcome = panel.questionnaires.clone().create_questionnaire(manager(create(many))).await;
    let told = violations(outcome).len();
    assert!((4..=16).contains(&told), "{told}");
}

#[tokio::test]
async fn a_mask_of_unknown_and_unchangeable_paths_is_refused_by_name() {
    let mut panel = Panel::open().await;
    let draft = panel.drafted(every_kind()).await;
    let paths = ["title", "purpose", "nonsense"].map(str::to_owned).to_vec();
    let message = UpdateQuestionnaireRequest {
        questionnaire: Some(Questionnaire { name: draft.name.clone(), ..every_kind() }),
        update_mask: Some(FieldMask { paths }),
        etag: "x".to_owned(),
        ..Default::default()
    };
    let wrong =
        ["etag FIELD_FORMAT", "update_mask.purpose FIELD_FORMAT", "update_mask.nonsense FIELD_FORMAT"];
    assert_eq!(violations(panel.questionnaires.update_questionnaire(manager(message)).await), wrong);
    let nothing = UpdateQuestionnaireRequest::default();
    let outcome = panel.questionnaires.update_questionnaire(manager(nothing)).await;
    assert_eq!(violations(outcome), ["questionnaire FIELD_REQUIRED"]);
}
