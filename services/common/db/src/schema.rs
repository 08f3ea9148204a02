//! The tables of `migrations/`, as diesel prints them.

diesel::table! {
    idempotency (caller, request_id) {
        caller -> Text,
        request_id -> Uuid,
        method -> Text,
        body_digest -> Bytea,
        answer -> Nullable<Bytea>,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    event_pending (id) {
        id -> Int8,
        event_id -> Uuid,
        aggregate -> Text,
        aggregate_version -> Int8,
        #[sql_name = "type"]
        type_ -> Text,
        payload -> Bytea,
        trace -> Text,
        occur_time -> Timestamptz,
    }
}

diesel::table! {
    event_log (position) {
        position -> Int8,
        event_id -> Uuid,
        aggregate -> Text,
        aggregate_version -> Int8,
        #[sql_name = "type"]
        type_ -> Text,
        payload -> Bytea,
        trace -> Text,
        occur_time -> Timestamptz,
        hash -> Bytea,
    }
}

diesel::table! {
    event_head (singleton) {
        singleton -> Bool,
        log_id -> Uuid,
        position -> Int8,
        hash -> Bytea,
    }
}

diesel::table! {
    event_ack (consumer) {
        consumer -> Text,
        position -> Int8,
        hash -> Bytea,
        reader -> Text,
        lease_time -> Timestamptz,
        ack_time -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    event_parked (consumer, aggregate) {
        consumer -> Text,
        aggregate -> Text,
        event_id -> Uuid,
        position -> Int8,
        #[sql_name = "type"]
        type_ -> Text,
        reason -> Text,
        detail_code -> Text,
        attempts -> Int4,
        park_time -> Timestamptz,
        state -> Text,
    }
}

diesel::table! {
    event_reaction (consumer, reaction) {
        consumer -> Text,
        reaction -> Text,
        replaces -> Text,
        start_position -> Int8,
    }
}

diesel::table! {
    event_discarded (consumer, event_id) {
        consumer -> Text,
        event_id -> Uuid,
        aggregate -> Text,
        position -> Int8,
        reason -> Text,
        actor -> Text,
        discard_time -> Timestamptz,
    }
}

diesel::table! {
    audit_release (sequence) {
        sequence -> Int8,
        time -> Timestamptz,
        caller -> Text,
        roles -> Array<Int4>,
        purpose -> Int4,
        reference -> Text,
        method -> Text,
        kinds -> Array<Int4>,
        customers -> Array<Uuid>,
        resources -> Array<Text>,
        trace_id -> Text,
        hash -> Bytea,
    }
}

diesel::table! {
    audit_head (singleton) {
        singleton -> Bool,
        sequence -> Int8,
        hash -> Bytea,
    }
}

diesel::table! {
    subject (customer_id) {
        customer_id -> Uuid,
        state -> Text,
        forfeit_points -> Bool,
        blockers -> Array<Text>,
        version -> Int8,
        update_time -> Timestamptz,
        survivor_id -> Nullable<Uuid>,
        round -> Int8,
    }
}

diesel::allow_tables_to_appear_in_same_query!(event_ack, event_head, event_log, event_parked, event_pending,);
diesel::allow_tables_to_appear_in_same_query!(audit_head, audit_release);
