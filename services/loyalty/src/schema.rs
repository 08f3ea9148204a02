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
        lot_id -> Uuid,
        points -> Int8,
        balance_after -> Int8,
        actor -> Text,
        request_id -> Uuid,
        create_time -> Timestamptz,
    }
}

diesel::table! {
    ledger_account (customer_id, account) {
        customer_id -> Uuid,
        account -> Text,
        debit -> Int8,
        credit -> Int8,
        balance -> Int8,
        postings -> Int8,
        hash -> Bytea,
    }
}

diesel::table! {
    lot (customer_id, id) {
        customer_id -> Uuid,
        id -> Uuid,
        amount -> Int8,
        remaining -> Int8,
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
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    posting (customer_id, account, sequence) {
        customer_id -> Uuid,
        account -> Text,
        sequence -> Int8,
        transaction_id -> Uuid,
        entry_sequence -> Int8,
        amount -> Int8,
        balance_after -> Int8,
        hash -> Bytea,
    }
}

diesel::joinable!(ledger_account -> member (customer_id));

diesel::allow_tables_to_appear_in_same_query!(entry, ledger_account, lot, member, posting,);
