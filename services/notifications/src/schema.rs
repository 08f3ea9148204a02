//! The tables of `migrations/`, as diesel prints them; only that the arrays hold no NULLs is said by hand.

diesel::table! {
    templates (key) {
        key -> Text,
        variables -> Array<Text>,
        channels -> Array<Text>,
        contents -> Jsonb,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    template_texts (template_key, version) {
        template_key -> Text,
        version -> Int8,
        contents -> Jsonb,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    contacts (customer_id) {
        customer_id -> Uuid,
        customer_version -> Int8,
        deleted -> Bool,
        display_name -> Text,
        email -> Nullable<Text>,
        phone -> Nullable<Text>,
        locale -> Text,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    messages (id) {
        id -> Uuid,
        customer_id -> Uuid,
        template_key -> Text,
        template_version -> Int8,
        channel -> Text,
        locale -> Nullable<Text>,
        about -> Text,
        state -> Text,
        failure_reason -> Nullable<Text>,
        attempts -> Int4,
        in_flight -> Bool,
        variables -> Nullable<Jsonb>,
        due_time -> Nullable<Timestamptz>,
        finish_time -> Nullable<Timestamptz>,
        trace -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    delivery_steps (message_id, id) {
        message_id -> Uuid,
        id -> Int8,
        time -> Timestamptz,
        decision -> Nullable<Text>,
        attempt -> Nullable<Int4>,
        outcome -> Nullable<Text>,
        detail -> Text,
        next_attempt_time -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    inbox_items (id) {
        id -> Uuid,
        customer_id -> Uuid,
        subject -> Text,
        body -> Text,
        locale -> Text,
        about -> Text,
        read_time -> Nullable<Timestamptz>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}
