-- What members take for points, and what they hold then.

-- The catalogue: small, written by its keepers.
CREATE TABLE reward (
    id                    uuid        PRIMARY KEY,
    kind                  text        NOT NULL CHECK (kind IN ('GIFT', 'COUPON')),
    state                 text        NOT NULL CHECK (state IN ('DRAFT', 'ACTIVE', 'ARCHIVED')),
    -- Empty: there is none.
    name_zh               text        NOT NULL CHECK (name_zh <> ''),
    name_en               text        NOT NULL,
    description_zh        text        NOT NULL,
    description_en        text        NOT NULL,
    price                 bigint      NOT NULL CHECK (price >= 0),
    start_time            timestamptz,
    end_time              timestamptz,
    most_per_member       integer     CHECK (most_per_member > 0),
    voucher_seconds       bigint      CHECK (voucher_seconds > 0),
    -- What a coupon is worth: a share or an amount.
    discount_basis_points integer     CHECK (discount_basis_points BETWEEN 1 AND 10000),
    amount_off_currency   text,
    amount_off_units      bigint,
    amount_off_nanos      integer,
    minimum_currency      text,
    minimum_units         bigint,
    minimum_nanos         integer,
    version               bigint      NOT NULL CHECK (version > 0),
    create_time           timestamptz NOT NULL,
    update_time           timestamptz NOT NULL,
    CONSTRAINT reward_window CHECK (start_time < end_time),
    CONSTRAINT reward_coupons_are_worth_something
        CHECK (num_nonnulls(discount_basis_points, amount_off_currency) = CASE kind WHEN 'COUPON' THEN 1 ELSE 0 END),
    CONSTRAINT reward_amount_off_whole
        CHECK (num_nonnulls(amount_off_currency, amount_off_units, amount_off_nanos) IN (0, 3)),
    CONSTRAINT reward_minimum_whole CHECK (num_nonnulls(minimum_currency, minimum_units, minimum_nanos) IN (0, 3))
);
-- For the lists of one state; ids are in the order of time.
CREATE INDEX reward_newest_by_state ON reward (state, id DESC);

-- How many there are of a reward. A row of its own, because everybody who takes one of the pieces writes it: it is
-- narrow, and the reward itself and its version stay as they are. It is written last in a transaction, so that others
-- wait for it no longer than a commit takes, and only where there is a stock to count.
CREATE TABLE reward_stock (
    reward_id uuid   PRIMARY KEY,
    -- NULL: any number.
    stock     bigint CHECK (stock >= 0),
    taken     bigint NOT NULL CHECK (taken >= 0),
    -- Nobody gets a piece too many, whatever the code above does.
    CONSTRAINT reward_stock_suffices CHECK (taken <= stock)
)
-- With room in its page a change touches no index.
WITH (fillfactor = 40);

-- The right to one piece of a reward.
CREATE TABLE voucher (
    customer_id    uuid        NOT NULL,
    id             uuid        NOT NULL,
    reward_id      uuid        NOT NULL,
    state          text        NOT NULL CHECK (state IN ('ISSUED', 'CONSUMED', 'CANCELLED', 'EXPIRED')),
    points         bigint      NOT NULL CHECK (points >= 0),
    -- The transaction of the ledger that paid for it; NULL: it was a present.
    transaction_id uuid,
    -- A piece of the stock was taken for it.
    from_stock     boolean     NOT NULL,
    -- The name of the order that it was used on; empty: none.
    order_name     text        NOT NULL,
    -- NULL: good for ever.
    expires_at     timestamptz,
    version        bigint      NOT NULL CHECK (version > 0),
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    PRIMARY KEY (customer_id, id),
    CONSTRAINT voucher_paid CHECK ((points > 0) = (transaction_id IS NOT NULL))
);
-- How many of a reward a member has taken.
CREATE INDEX voucher_of_reward ON voucher (customer_id, reward_id) WHERE state <> 'CANCELLED';
-- For the worker that writes down whose time is over.
CREATE INDEX voucher_due ON voucher (expires_at) WHERE state = 'ISSUED' AND expires_at IS NOT NULL;

-- Which voucher a code is of. The code itself is stored nowhere: this is its HMAC under a key that the database does
-- not hold. A table of its own, keyed by what it is asked for: whoever comes with a code does not say whose it is, and a
-- database that is split by customer would have to ask all of its parts.
CREATE TABLE voucher_code (
    digest      bytea PRIMARY KEY CHECK (octet_length(digest) = 32),
    customer_id uuid  NOT NULL,
    voucher_id  uuid  NOT NULL
);
