-- Rules that give points beside the base rule, what may be spent on them, and what members have had of them.

CREATE TABLE programme (
    id                 uuid        PRIMARY KEY,
    name_zh            text        NOT NULL CHECK (name_zh <> ''),
    -- Empty: none.
    name_en            text        NOT NULL,
    state              text        NOT NULL CHECK (state IN ('DRAFT', 'ACTIVE', 'PAUSED', 'ENDED')),
    -- NULL: no bound.
    start_time         timestamptz,
    end_time           timestamptz,
    -- NULL: none. What is left of it stands in budget_slice.
    budget             bigint      CHECK (budget > 0),
    utc_offset_minutes integer     NOT NULL CHECK (utc_offset_minutes BETWEEN -720 AND 840),
    version            bigint      NOT NULL CHECK (version > 0),
    create_time        timestamptz NOT NULL,
    update_time        timestamptz NOT NULL,
    CONSTRAINT programme_in_order CHECK (start_time < end_time)
);
-- The ids tell the time: for the list of one state, and for the rules in force.
CREATE INDEX programme_newest_by_state ON programme (state, id DESC);

CREATE TABLE earning_rule (
    id               uuid        PRIMARY KEY,
    programme_id     uuid        NOT NULL REFERENCES programme,
    name_zh          text        NOT NULL CHECK (name_zh <> ''),
    -- Empty: none.
    name_en          text        NOT NULL,
    trigger          text        NOT NULL,
    -- NULL: no bound.
    start_time       timestamptz,
    end_time         timestamptz,
    -- Empty: any.
    sales_channels   text[]      NOT NULL,
    product_codes    text[]      NOT NULL,
    tiers            uuid[]      NOT NULL,
    segments         text[]      NOT NULL,
    minimum_units    bigint      NOT NULL CHECK (minimum_units >= 0),
    effect           text        NOT NULL CHECK (effect IN ('PER_UNIT', 'FIXED', 'MULTIPLIER')),
    effect_amount    bigint      NOT NULL CHECK (effect_amount > 0),
    -- NULL: as the base rule's.
    delay_s          bigint      CHECK (delay_s >= 0),
    -- 0: for ever. NULL: as the base rule's.
    lifetime_s       bigint      CHECK (lifetime_s >= 0),
    -- NULL: none. What is left of it stands in budget_slice.
    budget           bigint      CHECK (budget > 0),
    cap_points       bigint      CHECK (cap_points > 0),
    cap_period       text,
    velocity_awards  bigint      CHECK (velocity_awards > 0),
    velocity_period  text,
    version          bigint      NOT NULL CHECK (version > 0),
    create_time      timestamptz NOT NULL,
    update_time      timestamptz NOT NULL,
    CONSTRAINT earning_rule_in_order CHECK (start_time < end_time),
    CONSTRAINT earning_rule_cap_whole CHECK ((cap_points IS NULL) = (cap_period IS NULL)),
    CONSTRAINT earning_rule_velocity_whole CHECK ((velocity_awards IS NULL) = (velocity_period IS NULL))
);
CREATE INDEX earning_rule_by_programme ON earning_rule (programme_id, id DESC);

-- What is left of the budget of a rule or a programme, in parts: whoever gives points locks one or two that nobody else
-- has, so that a budget is not a row that all customers wait for. Nobody gives more than there is, whatever the code
-- above does.
CREATE TABLE budget_slice (
    -- The id of the rule or the programme.
    budget_id uuid     NOT NULL,
    slice     smallint NOT NULL,
    remaining bigint   NOT NULL CHECK (remaining >= 0),
    PRIMARY KEY (budget_id, slice)
)
-- Rewritten by every batch that gives something. With room in its page that touches no index.
WITH (fillfactor = 20);

-- What a member has had by a rule in a period, for rules with a cap or a velocity limit. Written under the member's lock.
-- One row for each kind of period: the next period takes the row over, so that they do not pile up.
CREATE TABLE earning_counter (
    customer_id  uuid        NOT NULL,
    rule_id      uuid        NOT NULL,
    period       text        NOT NULL,
    -- When the period began that the numbers are of.
    period_start timestamptz NOT NULL,
    points       bigint      NOT NULL CHECK (points >= 0),
    awards       bigint      NOT NULL CHECK (awards >= 0),
    PRIMARY KEY (customer_id, rule_id, period)
)
WITH (fillfactor = 70);
