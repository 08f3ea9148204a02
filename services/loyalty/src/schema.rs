// @generated automatically by Diesel CLI.

diesel::table! {
    breakage_estimate (id) {
        id -> Uuid,
        version -> Int8,
        effective_date -> Date,
        redemption_rate -> Int4,
        currency -> Text,
        stand_alone_price -> Int8,
        sale_price -> Nullable<Int8>,
        reason -> Text,
        actor -> Text,
        create_time -> Timestamptz,
    }
}

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
    ledger_close (id) {
        id -> Int2,
        closed_through -> Nullable<Date>,
    }
}

diesel::table! {
    ledger_day (day, cohort, kind, debit, credit) {
        day -> Date,
        cohort -> Date,
        kind -> Text,
        debit -> Text,
        credit -> Text,
        points -> Numeric,
        entries -> Int8,
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

diesel::allow_tables_to_appear_in_same_query!(
    breakage_estimate,
    entry,
    hold,
    hold_lot,
    ledger_close,
    ledger_day,
    lot,
    member,
);
