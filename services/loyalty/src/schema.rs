// @generated automatically by Diesel CLI.

diesel::table! {
    entry (customer_id, sequence) {
        customer_id -> Uuid,
        sequence -> Int8,
        id -> Uuid,
        transaction_id -> Uuid,
        kind -> Text,
        reason -> Text,
        source -> Text,
        debit -> Text,
        credit -> Text,
        points -> Int8,
        balance_after -> Int8,
        lot_id -> Uuid,
        hold_id -> Nullable<Uuid>,
        reverses -> Nullable<Int8>,
        rule_id -> Nullable<Uuid>,
        actor -> Text,
        request_id -> Uuid,
        create_time -> Timestamptz,
        hash -> Bytea,
    }
}

diesel::table! {
    hold (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        state -> Text,
        points -> Int8,
        committed -> Int8,
        released -> Int8,
        source -> Text,
        expires_at -> Timestamptz,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    hold_lot (customer_id, hold_id, place) {
        customer_id -> Uuid,
        hold_id -> Uuid,
        place -> Int2,
        lot_id -> Uuid,
        points -> Int8,
        committed -> Int8,
        released -> Int8,
    }
}

diesel::table! {
    lot (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        amount -> Int8,
        remaining -> Int8,
        held -> Int8,
        spent -> Int8,
        expired -> Int8,
        reversed -> Int8,
        pending -> Bool,
        earned_at -> Timestamptz,
        available_at -> Timestamptz,
        expires_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    member (customer_id) {
        customer_id -> Uuid,
        state -> Text,
        version -> Int8,
        entry_count -> Int8,
        hash -> Bytea,
        available -> Int8,
        pending -> Int8,
        held -> Int8,
        issued -> Int8,
        debt -> Int8,
        redeemed -> Int8,
        expired -> Int8,
        next_due -> Nullable<Timestamptz>,
        notice_until -> Timestamptz,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    reward (id) {
        id -> Uuid,
        kind -> Text,
        state -> Text,
        name_zh -> Text,
        name_en -> Text,
        description_zh -> Text,
        description_en -> Text,
        price -> Int8,
        start_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
        most_per_member -> Nullable<Int4>,
        voucher_seconds -> Nullable<Int8>,
        discount_basis_points -> Nullable<Int4>,
        amount_off_currency -> Nullable<Text>,
        amount_off_units -> Nullable<Int8>,
        amount_off_nanos -> Nullable<Int4>,
        minimum_currency -> Nullable<Text>,
        minimum_units -> Nullable<Int8>,
        minimum_nanos -> Nullable<Int4>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    reward_stock (reward_id) {
        reward_id -> Uuid,
        stock -> Nullable<Int8>,
        taken -> Int8,
    }
}

diesel::table! {
    voucher (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        reward_id -> Uuid,
        state -> Text,
        points -> Int8,
        transaction_id -> Nullable<Uuid>,
        from_stock -> Bool,
        order_name -> Text,
        expires_at -> Nullable<Timestamptz>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    voucher_code (digest) {
        digest -> Bytea,
        customer_id -> Uuid,
        voucher_id -> Uuid,
    }
}

diesel::allow_tables_to_appear_in_same_query!(
    entry,
    hold,
    hold_lot,
    lot,
    member,
    reward,
    reward_stock,
    voucher,
    voucher_code,
);
