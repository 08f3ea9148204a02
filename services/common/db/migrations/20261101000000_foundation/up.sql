-- The tables that every service's database has, whatever it is about: remembered requests and the event log.

CREATE TABLE idempotency (
    caller      text        NOT NULL,
    request_id  uuid        NOT NULL,
    method      text        NOT NULL,
    body_digest bytea       NOT NULL,
    -- NULL while the first call is on its way, and again when the answer has been forgotten.
    answer      bytea,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (caller, request_id)
);
-- For forgetting, oldest first.
CREATE INDEX idempotency_answered ON idempotency (create_time) WHERE answer IS NOT NULL;

-- Written by the domain's own transaction; emptied by the sequencer.
CREATE TABLE event_pending (
    id                bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id          uuid        NOT NULL,
    aggregate         text        NOT NULL,
    aggregate_version bigint      NOT NULL CHECK (aggregate_version > 0),
    type              text        NOT NULL,
    payload           bytea       NOT NULL,
    trace             text        NOT NULL,
    occur_time        timestamptz NOT NULL,
    CONSTRAINT event_pending_once UNIQUE (aggregate, aggregate_version)
);

CREATE TABLE event_log (
    position          bigint      PRIMARY KEY CHECK (position > 0),
    event_id          uuid        NOT NULL UNIQUE,
    aggregate         text        NOT NULL,
    aggregate_version bigint      NOT NULL,
    type              text        NOT NULL,
    payload           bytea       NOT NULL,
    trace             text        NOT NULL,
    occur_time        timestamptz NOT NULL,
    hash              bytea       NOT NULL,
    CONSTRAINT event_log_once UNIQUE (aggregate, aggregate_version)
);

-- One row; its lock is the fence between sequencers.
CREATE TABLE event_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    log_id    uuid    NOT NULL,
    position  bigint  NOT NULL,
    hash      bytea   NOT NULL
);
INSERT INTO event_head (log_id, position, hash) VALUES (gen_random_uuid(), 0, '\x');

-- How far each consumer has got, and which of its readers holds the claim.
CREATE TABLE event_ack (
    consumer   text        PRIMARY KEY,
    position   bigint      NOT NULL DEFAULT 0,
    hash       bytea       NOT NULL DEFAULT '\x',
    reader     text        NOT NULL DEFAULT '',
    lease_time timestamptz NOT NULL DEFAULT 'epoch',
    ack_time   timestamptz
);

-- Aggregates that a consumer has set aside; what comes later of the same aggregate waits behind them.
CREATE TABLE event_parked (
    consumer  text        NOT NULL,
    aggregate text        NOT NULL,
    event_id  uuid        NOT NULL,
    position  bigint      NOT NULL,
    type      text        NOT NULL,
    reason    text        NOT NULL,
    detail_code text      NOT NULL DEFAULT '',
    attempts  integer     NOT NULL,
    park_time timestamptz NOT NULL DEFAULT now(),
    state     text        NOT NULL DEFAULT 'PARKED' CHECK (state IN ('PARKED', 'RETRY_REQUESTED', 'DISCARD_REQUESTED')),
    PRIMARY KEY (consumer, aggregate)
);
-- For operators' lists, the longest parked first.
CREATE INDEX event_parked_by_time ON event_parked (consumer, park_time, aggregate);

-- Events that somebody decided to skip for a consumer: the decision stays readable.
CREATE TABLE event_discarded (
    consumer     text        NOT NULL,
    event_id     uuid        NOT NULL,
    aggregate    text        NOT NULL,
    position     bigint      NOT NULL,
    reason       text        NOT NULL,
    actor        text        NOT NULL,
    discard_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (consumer, event_id)
);
