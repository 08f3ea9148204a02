//! The tables of `migrations/`, as diesel prints them; only that the `choices` hold no NULLs is said by hand.

diesel::table! {
    questionnaires (id) {
        id -> Uuid,
        purpose -> Text,
        state -> Text,
        content -> Jsonb,
        latest_version -> Int4,
        publish_time -> Nullable<Timestamptz>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    questionnaire_versions (questionnaire_id, number) {
        questionnaire_id -> Uuid,
        number -> Int4,
        purpose -> Text,
        content -> Jsonb,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    invitations (id) {
        id -> Uuid,
        customer_id -> Uuid,
        questionnaire_id -> Uuid,
        number -> Int4,
        subject -> Text,
        subject_version -> Int8,
        state -> Text,
        expire_time -> Timestamptz,
        response_id -> Nullable<Uuid>,
        answer_time -> Nullable<Timestamptz>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    responses (id) {
        id -> Uuid,
        invitation_id -> Uuid,
        questionnaire_id -> Uuid,
        number -> Int4,
        customer_id -> Uuid,
        subject -> Text,
        subject_version -> Int8,
        dissatisfied -> Bool,
        mode -> Text,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    answers (response_id, place) {
        response_id -> Uuid,
        place -> Int2,
        questionnaire_id -> Uuid,
        number -> Int4,
        question_id -> Text,
        create_time -> Timestamptz,
        score -> Nullable<Int2>,
        choices -> Nullable<Array<Text>>,
        words -> Nullable<Text>,
    }
}
