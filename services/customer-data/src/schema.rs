// @generated automatically by Diesel CLI.

diesel::table! {
    customer_tags (tag, customer_id) {
        tag -> Text,
        customer_id -> Uuid,
    }
}

diesel::table! {
    customers (id) {
        id -> Uuid,
        version -> Int8,
        display_name -> Text,
        phones -> Jsonb,
        emails -> Jsonb,
        addresses -> Jsonb,
        birth_year -> Nullable<Int2>,
        birth_month -> Nullable<Int2>,
        birth_day -> Nullable<Int2>,
        gender -> Nullable<Text>,
        locale -> Text,
        source_channel -> Nullable<Text>,
        tags -> Array<Text>,
        external_reference -> Nullable<Text>,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        delete_time -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    erasure_steps (customer_id, service) {
        customer_id -> Uuid,
        service -> Text,
        version -> Int8,
        erased -> Bool,
        blockers -> Array<Text>,
        receipt -> Jsonb,
        step_time -> Timestamptz,
    }
}

diesel::table! {
    erasures (customer_id) {
        customer_id -> Uuid,
        state -> Text,
        ground -> Text,
        forfeit_points -> Bool,
        requester -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        finish_time -> Nullable<Timestamptz>,
        round -> Int8,
    }
}

diesel::table! {
    interactions (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        kind -> Text,
        channel -> Text,
        occur_time -> Timestamptz,
        summary -> Text,
        subject -> Text,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    legal_holds (customer_id) {
        customer_id -> Uuid,
        reference -> Text,
        actor -> Text,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    merge_steps (customer_id, service) {
        customer_id -> Uuid,
        service -> Text,
        receipt -> Jsonb,
        step_time -> Timestamptz,
    }
}

diesel::table! {
    merges (customer_id) {
        customer_id -> Uuid,
        survivor_id -> Uuid,
        state -> Text,
        requester -> Text,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
        finish_time -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    purchases (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        purchase_reference -> Text,
        purchase_time -> Timestamptz,
        currency_code -> Text,
        amount_units -> Int8,
        amount_nanos -> Int4,
        quantity -> Int8,
        product -> Text,
        create_time -> Timestamptz,
    }
}

diesel::joinable!(customer_tags -> customers (customer_id));
diesel::joinable!(interactions -> customers (customer_id));
diesel::joinable!(purchases -> customers (customer_id));

diesel::allow_tables_to_appear_in_same_query!(customer_tags, customers, interactions, purchases,);
