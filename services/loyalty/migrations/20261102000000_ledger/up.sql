-- Members and the ledger of their points. Every table is keyed first by the customer, so that the database can be
-- split by it one day and no call crosses a split.

-- One row for each member. Its lock is the only one that a change of points takes: everything below belongs to one
-- customer and is written under it.
CREATE TABLE member (
    customer_id uuid        PRIMARY KEY,
    state       text        NOT NULL CHECK (state IN ('ACTIVE', 'FROZEN')),
    version     bigint      NOT NULL CHECK (version > 0),
    entry_count bigint      NOT NULL CHECK (entry_count >= 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
-- For the lists: the newest first, all of them or those in one state.
CREATE INDEX member_newest ON member (create_time DESC, customer_id DESC);
CREATE INDEX member_newest_by_state ON member (state, create_time DESC, customer_id DESC);

-- The head of one account of the ledger, as far as one member is concerned. The programme's accounts are kept in
-- parts, one for each member, and never in one row: that row would make all customers of the programme wait for one
-- another. A programme's balance is the sum over the parts (GetTrialBalance).
--
-- A credit adds to what the member has, a debit takes. What the programme has issued stands there as a debit, so
-- that all accounts together are always zero.
CREATE TABLE ledger_account (
    customer_id uuid   NOT NULL REFERENCES member,
    account     text   NOT NULL CONSTRAINT ledger_account_known CHECK (account IN (
        'programme:issued', 'programme:redeemed', 'programme:expired', 'programme:clawback_debt',
        'member:available', 'member:pending', 'member:held')),
    debit       bigint NOT NULL CHECK (debit >= 0),
    credit      bigint NOT NULL CHECK (credit >= 0),
    balance     bigint NOT NULL GENERATED ALWAYS AS (credit - debit) STORED,
    -- How many postings there are, and the hash of the last.
    postings    bigint NOT NULL CHECK (postings >= 0),
    hash        bytea  NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (customer_id, account),
    -- Nobody has less than nothing, whatever the code above does.
    CONSTRAINT ledger_account_not_negative CHECK (account NOT LIKE 'member:%' OR balance >= 0)
);

-- Points that were earned together and end together. What is left of all lots of a member is what the member has
-- available (and, once points can be earned for later, pending). A hold will take points out of the lots that it
-- pins and remember how many of each, in rows (customer_id, hold_id, lot_id, amount), against member:held.
CREATE TABLE lot (
    customer_id  uuid        NOT NULL REFERENCES member,
    id           uuid        NOT NULL,
    amount       bigint      NOT NULL CHECK (amount > 0),
    remaining    bigint      NOT NULL,
    earned_at    timestamptz NOT NULL,
    available_at timestamptz NOT NULL,
    -- NULL: never.
    expires_at   timestamptz,
    PRIMARY KEY (customer_id, id),
    CONSTRAINT lot_remaining_within CHECK (remaining BETWEEN 0 AND amount)
);
-- In the order in which they are spent.
CREATE INDEX lot_spendable ON lot (customer_id, expires_at, earned_at, id) WHERE remaining > 0;

-- One change of what a member has available, of one lot. Never changes.
CREATE TABLE entry (
    customer_id    uuid        NOT NULL,
    -- 1, 2, 3 and so on for each member.
    sequence       bigint      NOT NULL CHECK (sequence > 0),
    id             uuid        NOT NULL,
    -- The entries that were made together.
    transaction_id uuid        NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('EARN', 'REDEEM', 'ADJUST')),
    reason         text        NOT NULL CHECK (reason IN (
        'PURCHASE', 'SURVEY_ANSWERED', 'COMPENSATION', 'ADJUSTMENT', 'REDEMPTION')),
    -- The name of the resource that it is for; empty: none.
    source         text        NOT NULL,
    lot_id         uuid        NOT NULL,
    points         bigint      NOT NULL CHECK (points <> 0),
    balance_after  bigint      NOT NULL CHECK (balance_after >= 0),
    actor          text        NOT NULL,
    -- With the actor, the key that the call was remembered by.
    request_id     uuid        NOT NULL,
    create_time    timestamptz NOT NULL,
    PRIMARY KEY (customer_id, sequence),
    FOREIGN KEY (customer_id, lot_id) REFERENCES lot
);
-- What happened once is rewarded once, whatever the request is called.
CREATE UNIQUE INDEX entry_source_once ON entry (customer_id, reason, source)
    WHERE source <> '' AND reason IN ('PURCHASE', 'SURVEY_ANSWERED', 'COMPENSATION');

-- One side of an entry on one account. Never changes. Who, why and for what stand in the entry; the hash covers them.
CREATE TABLE posting (
    customer_id    uuid   NOT NULL,
    account        text   NOT NULL,
    -- 1, 2, 3 and so on for each account.
    sequence       bigint NOT NULL CHECK (sequence > 0),
    transaction_id uuid   NOT NULL,
    entry_sequence bigint NOT NULL,
    -- Over 0: credit; below 0: debit.
    amount         bigint NOT NULL CHECK (amount <> 0),
    balance_after  bigint NOT NULL,
    -- Over this posting, its entry, and the hash of the account's posting before: one chain for each account of each
    -- member, so that nobody waits for anybody else's chain.
    hash           bytea  NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (customer_id, account, sequence),
    FOREIGN KEY (customer_id, account) REFERENCES ledger_account,
    FOREIGN KEY (customer_id, entry_sequence) REFERENCES entry
);

-- For the whole statement, not for each row: one that finds no row is refused as well, and TRUNCATE too.
CREATE FUNCTION ledger_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is append-only: no % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER entry_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON entry
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();
CREATE TRIGGER posting_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON posting
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_change();

-- Double entry. All postings of a transaction are written by one statement.
CREATE FUNCTION ledger_refuse_imbalance() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM added GROUP BY transaction_id HAVING sum(amount) <> 0) THEN
        RAISE EXCEPTION 'the postings of a transaction do not add up to zero'
            USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER posting_sum_zero AFTER INSERT ON posting REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION ledger_refuse_imbalance();
