//! The tables of `migrations/`, as diesel prints them.

diesel::table! {
    complaints (id) {
        id -> Uuid,
        reference -> Text,
        customer_id -> Uuid,
        channel -> Int2,
        category -> Int2,
        severity -> Int2,
        severity_rank -> Int2,
        subject -> Text,
        description -> Text,
        remedy_sought -> Nullable<Int2>,
        remedy_note -> Text,
        state -> Int2,
        assignee -> Nullable<Text>,
        responsible_department -> Nullable<Text>,
        cause -> Nullable<Int2>,
        cause_explanation -> Nullable<Text>,
        resolution_version -> Nullable<Int8>,
        resolution_summary -> Nullable<Text>,
        compensation_points -> Nullable<Int8>,
        resolution_time -> Nullable<Timestamptz>,
        reopen_count -> Int4,
        acknowledge_time -> Nullable<Timestamptz>,
        close_time -> Nullable<Timestamptz>,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        version -> Int8,
    }
}

diesel::table! {
    complaint_timeline (complaint_id, version) {
        complaint_id -> Uuid,
        version -> Int8,
        time -> Timestamptz,
        action -> Int2,
        from_state -> Nullable<Int2>,
        to_state -> Int2,
        actor -> Text,
        facts -> Jsonb,
        note -> Text,
    }
}

diesel::table! {
    complaint_clocks (complaint_id, clock) {
        complaint_id -> Uuid,
        clock -> Text,
        policy_version -> Int8,
        target_us -> Int8,
        consumed_us -> Int8,
        resume_time -> Timestamptz,
        warn_time -> Timestamptz,
        due_time -> Timestamptz,
        end_time -> Nullable<Timestamptz>,
        told -> Text,
        tell_time -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    sla_policies (version) {
        version -> Int8,
        content -> Jsonb,
        create_time -> Timestamptz,
    }
}

diesel::joinable!(complaint_timeline -> complaints (complaint_id));
diesel::allow_tables_to_appear_in_same_query!(complaint_timeline, complaints);
