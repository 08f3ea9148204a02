-- Members and the ledger of their points. Every table is keyed first by the customer, so that the database can be
-- split by it one day and no call crosses a split.
--
-- No foreign keys between these tables: every one would be looked up once more for each row of each batch, and all
-- rows of a member are written under the member's lock by one function. VerifyLedger finds what does not belong.

-- The format before the first release cannot be carried over: its postings are chained by other hashes.
DO $$
BEGIN
    IF to_regclass('ledger_account') IS NOT NULL THEN
        RAISE EXCEPTION 'this database holds a ledger of before the first release, which has no successor'
            USING HINT = 'start with an empty database; ./scripts/dev reset does so for development';
    END IF;
END $$;

-- One row for each member, with what stands on each account of the member's ledger. Its lock is the only one that a
-- change of points takes. The programme's accounts are kept in parts, one for each member, and never in one row: that
-- row would make all customers wait for one another. A programme's balance is the sum over the parts.
CREATE TABLE member (
    customer_id  uuid        PRIMARY KEY,
    state        text        NOT NULL CHECK (state IN ('ACTIVE', 'FROZEN')),
    version      bigint      NOT NULL CHECK (version > 0),
    -- How many entries there are, and the hash of the last: the end of the member's chain.
    entry_count  bigint      NOT NULL CHECK (entry_count >= 0),
    hash         bytea       NOT NULL CHECK (octet_length(hash) = 32),
    -- The member's own accounts: credits. Nobody has less than nothing, whatever the code above does.
    available    bigint      NOT NULL CHECK (available >= 0),
    pending      bigint      NOT NULL CHECK (pending >= 0),
    held         bigint      NOT NULL CHECK (held >= 0),
    -- The member's part of the programme's accounts: two debits and two credits.
    issued       bigint      NOT NULL CHECK (issued >= 0),
    debt         bigint      NOT NULL CHECK (debt >= 0),
    redeemed     bigint      NOT NULL CHECK (redeemed >= 0),
    expired      bigint      NOT NULL CHECK (expired >= 0),
    -- When the passing of time next changes something: points become available, expire or are about to, a hold runs
    -- out. NULL: never. May be too early, never too late.
    next_due     timestamptz,
    -- Points that expire up to then have been announced.
    notice_until timestamptz NOT NULL,
    create_time  timestamptz NOT NULL,
    update_time  timestamptz NOT NULL,
    -- Double entry: what was brought into being is somewhere.
    CONSTRAINT member_sum_zero CHECK (issued::numeric + debt = available::numeric + pending + held + redeemed + expired)
)
-- Every change rewrites the row. With room in its page that touches no index.
WITH (fillfactor = 60);
-- For the lists: the newest first, all of them or those in one state.
CREATE INDEX member_newest ON member (create_time DESC, customer_id DESC);
CREATE INDEX member_newest_by_state ON member (state, create_time DESC, customer_id DESC);
-- For the worker that writes down what time has changed.
CREATE INDEX member_due ON member (next_due) WHERE next_due IS NOT NULL;

-- Points that were earned together and end together. Its id is that of the entry that made it.
CREATE TABLE lot (
    customer_id  uuid        NOT NULL,
    id           uuid        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount > 0),
    -- Where the amount is now.
    remaining    bigint      NOT NULL CHECK (remaining >= 0),
    held         bigint      NOT NULL CHECK (held >= 0),
    spent        bigint      NOT NULL CHECK (spent >= 0),
    expired      bigint      NOT NULL CHECK (expired >= 0),
    reversed     bigint      NOT NULL CHECK (reversed >= 0),
    -- What remains cannot be spent yet.
    pending      boolean     NOT NULL,
    earned_at    timestamptz NOT NULL,
    available_at timestamptz NOT NULL,
    -- NULL: never.
    expires_at   timestamptz,
    PRIMARY KEY (customer_id, id),
    CONSTRAINT lot_whole CHECK (amount::numeric = remaining::numeric + held + spent + expired + reversed)
);
-- In the order in which they are spent. NULL sorts last.
CREATE INDEX lot_spendable ON lot (customer_id, expires_at, earned_at, id) WHERE remaining > 0;
CREATE INDEX lot_pending ON lot (customer_id, available_at) WHERE pending AND remaining > 0;

-- Points that are set aside for something under way.
CREATE TABLE hold (
    customer_id uuid        NOT NULL,
    id          uuid        NOT NULL,
    state       text        NOT NULL CHECK (state IN ('OPEN', 'COMMITTED', 'RELEASED', 'EXPIRED')),
    points      bigint      NOT NULL CHECK (points > 0),
    committed   bigint      NOT NULL CHECK (committed >= 0),
    released    bigint      NOT NULL CHECK (released >= 0),
    source      text        NOT NULL,
    expires_at  timestamptz NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    PRIMARY KEY (customer_id, id),
    CONSTRAINT hold_within CHECK (committed + released <= points),
    CONSTRAINT hold_open_while_something_is_held CHECK ((state = 'OPEN') = (committed + released < points))
);
CREATE INDEX hold_open ON hold (customer_id, expires_at) WHERE state = 'OPEN';
CREATE INDEX hold_newest ON hold (customer_id, create_time DESC, id DESC);

-- The lots that a hold is pinned to, in the order in which they are spent.
CREATE TABLE hold_lot (
    customer_id uuid     NOT NULL,
    hold_id     uuid     NOT NULL,
    place       smallint NOT NULL,
    lot_id      uuid     NOT NULL,
    points      bigint   NOT NULL CHECK (points > 0),
    committed   bigint   NOT NULL CHECK (committed >= 0),
    released    bigint   NOT NULL CHECK (released >= 0),
    PRIMARY KEY (customer_id, hold_id, place),
    CONSTRAINT hold_lot_within CHECK (committed + released <= points)
);

-- One movement of points of one lot, from one account to another: a debit of one and a credit of the other in one row,
-- so that no half of it can be missing. Never changes.
CREATE TABLE entry (
    customer_id    uuid        NOT NULL,
    -- 1, 2, 3 and so on for each member.
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    id             uuid        NOT NULL,
    -- The id of the first of the entries that were made together; they follow each other.
    transaction_id uuid        NOT NULL,
    kind           text        NOT NULL,
    reason         text        NOT NULL,
    -- The name of the resource that it is for; empty: none.
    source         text        NOT NULL,
    debit          text        NOT NULL,
    credit         text        NOT NULL,
    points         bigint      NOT NULL CHECK (points > 0),
    -- What is available after it.
    balance_after  bigint      NOT NULL CHECK (balance_after >= 0),
    lot_id         uuid        NOT NULL,
    hold_id        uuid,
    -- The entry that is taken back.
    reverses       bigint,
    -- The rule that gave the points.
    rule_id        uuid,
    actor          text        NOT NULL,
    -- With the actor, the key that the call was remembered by.
    request_id     uuid        NOT NULL,
    create_time    timestamptz NOT NULL,
    -- Over everything above and the hash of the entry before: one chain for each member, so that nobody waits for
    -- anybody else's.
    hash           bytea       NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (customer_id, sequence),
    CONSTRAINT entry_two_accounts CHECK (debit <> credit)
);
-- A transaction by its name, the id of its first entry.
CREATE UNIQUE INDEX entry_by_id ON entry (id);
-- What has been taken back of an entry.
CREATE INDEX entry_reverses ON entry (customer_id, reverses) WHERE reverses IS NOT NULL;

-- What happened once is rewarded once, whatever the request is called. A table of its own and not one more index of
-- entry: to a plan that was made while the ledger was small, the key of entry looks as good as that index, and every
-- earn would read the member's whole history from then on.
CREATE TABLE entry_source (
    customer_id    uuid   NOT NULL,
    reason         text   NOT NULL CHECK (reason IN ('PURCHASE', 'SURVEY_ANSWERED', 'COMPENSATION', 'REFERRAL', 'BIRTHDAY')),
    source         text   NOT NULL CHECK (source <> ''),
    -- The first entry of the transaction that gave the points.
    sequence       bigint NOT NULL,
    transaction_id uuid   NOT NULL,
    CONSTRAINT entry_source_once PRIMARY KEY (customer_id, reason, source)
);

-- For the whole statement, not for each row: one that finds no row is refused as well, and TRUNCATE too.
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: no % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER entry_source_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry_source
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
