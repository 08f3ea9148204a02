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
    budget_slice (budget_id, slice) {
        budget_id -> Uuid,
        slice -> Int2,
        remaining -> Int8,
    }
}

diesel::table! {
    earning_counter (customer_id, rule_id, period) {
        customer_id -> Uuid,
        rule_id -> Uuid,
        period -> Text,
        period_start -> Timestamptz,
        points -> Int8,
        awards -> Int8,
    }
}

diesel::table! {
    earning_rule (id) {
        id -> Uuid,
        programme_id -> Uuid,
        name_zh -> Text,
        name_en -> Text,
        trigger -> Text,
        start_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
        sales_channels -> Array<Text>,
        product_codes -> Array<Text>,
        tiers -> Array<Uuid>,
        segments -> Array<Text>,
        minimum_units -> Int8,
        effect -> Text,
        effect_amount -> Int8,
        delay_s -> Nullable<Int8>,
        lifetime_s -> Nullable<Int8>,
        budget -> Nullable<Int8>,
        cap_points -> Nullable<Int8>,
        cap_period -> Nullable<Text>,
        velocity_awards -> Nullable<Int8>,
        velocity_period -> Nullable<Text>,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
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
        reverses_of -> Nullable<Uuid>,
    }
}

diesel::table! {
    entry_source (customer_id, reason, source) {
        customer_id -> Uuid,
        reason -> Text,
        source -> Text,
        sequence -> Int8,
        transaction_id -> Uuid,
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
        tier_id -> Nullable<Uuid>,
        tier_since -> Nullable<Timestamptz>,
        tier_until -> Nullable<Timestamptz>,
        tier_announced -> Bool,
        tier_month -> Int4,
        tier_points -> Array<Nullable<Int8>>,
        referral_code -> Text,
        reward_to -> Nullable<Uuid>,
    }
}

diesel::table! {
    member_tier_history (customer_id, version) {
        customer_id -> Uuid,
        version -> Int8,
        from_tier -> Nullable<Uuid>,
        to_tier -> Nullable<Uuid>,
        reason -> Text,
        points -> Int8,
        change_time -> Timestamptz,
    }
}

diesel::table! {
    programme (id) {
        id -> Uuid,
        name_zh -> Text,
        name_en -> Text,
        state -> Text,
        start_time -> Nullable<Timestamptz>,
        end_time -> Nullable<Timestamptz>,
        budget -> Nullable<Int8>,
        utc_offset_minutes -> Int4,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
    }
}

diesel::table! {
    referral (customer_id) {
        customer_id -> Uuid,
        referrer_id -> Uuid,
        create_time -> Timestamptz,
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
    tier (id) {
        id -> Uuid,
        code -> Text,
        rank -> Int4,
        threshold -> Int8,
        name_zh -> Text,
        name_en -> Text,
        benefits -> Jsonb,
        version -> Int8,
        create_time -> Timestamptz,
        update_time -> Timestamptz,
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

diesel::joinable!(earning_rule -> programme (programme_id));
diesel::joinable!(member -> tier (tier_id));

diesel::allow_tables_to_appear_in_same_query!(
    breakage_estimate,
    budget_slice,
    earning_counter,
    earning_rule,
    entry,
    entry_source,
    hold,
    hold_lot,
    ledger_close,
    ledger_day,
    lot,
    member,
    member_tier_history,
    programme,
    referral,
    reward,
    reward_stock,
    tier,
    voucher,
    voucher_code,
);
