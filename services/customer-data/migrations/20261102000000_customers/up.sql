-- Customers, what they bought, and the contacts with them.

CREATE TABLE customers (
    id                 uuid        PRIMARY KEY,
    version            bigint      NOT NULL CHECK (version > 0),
    display_name       text        NOT NULL,
    -- [{"number": "+86…", "label": "MOBILE" | null, "primary": bool}], read and written whole.
    phones             jsonb       NOT NULL,
    -- [{"address": "…", "primary": bool}]
    emails             jsonb       NOT NULL,
    -- [{"country_code": "CN", "region": "…", "city": "…", "lines": ["…"], "postal_code": "…"}]
    addresses          jsonb       NOT NULL,
    -- The year may be unknown, so that this is no date.
    birth_year         smallint,
    birth_month        smallint,
    birth_day          smallint,
    gender             text,
    locale             text        NOT NULL,
    source_channel     text,
    -- customer_tags is the way back from a tag.
    tags               text[]      NOT NULL,
    external_reference text,
    create_time        timestamptz NOT NULL,
    update_time        timestamptz NOT NULL,
    -- Set once: the row is a tombstone from then on.
    delete_time        timestamptz,
    CONSTRAINT customers_external_reference_key UNIQUE (external_reference),
    CONSTRAINT customers_birthday_whole CHECK ((birth_month IS NULL) = (birth_day IS NULL) AND (birth_year IS NULL OR birth_month IS NOT NULL)),
    -- Whatever forgets to erase a column fails here.
    CONSTRAINT customers_tombstone_is_empty CHECK (
        delete_time IS NULL
        OR (display_name = '' AND phones = '[]' AND emails = '[]' AND addresses = '[]' AND birth_month IS NULL
            AND gender IS NULL AND tags = '{}')
    )
);
-- For lists, the newest first: ids are given in the order of time.
CREATE INDEX customers_listed ON customers (id DESC) WHERE delete_time IS NULL;
CREATE INDEX customers_listed_by_channel ON customers (source_channel, id DESC) WHERE delete_time IS NULL;

-- The customers of a tag, newest first. The same facts as customers.tags, in the order that lists need.
CREATE TABLE customer_tags (
    tag         text NOT NULL,
    customer_id uuid NOT NULL REFERENCES customers (id),
    PRIMARY KEY (tag, customer_id)
);

CREATE TABLE purchases (
    customer_id        uuid        NOT NULL REFERENCES customers (id),
    id                 uuid        NOT NULL,
    purchase_reference text        NOT NULL,
    purchase_time      timestamptz NOT NULL,
    currency_code      text        NOT NULL,
    amount_units       bigint      NOT NULL CHECK (amount_units >= 0),
    amount_nanos       integer     NOT NULL CHECK (amount_nanos BETWEEN 0 AND 999999999),
    quantity           bigint      NOT NULL CHECK (quantity > 0),
    product            text        NOT NULL,
    create_time        timestamptz NOT NULL,
    PRIMARY KEY (customer_id, id),
    CONSTRAINT purchases_reference_key UNIQUE (customer_id, purchase_reference)
);
CREATE INDEX purchases_latest ON purchases (customer_id, purchase_time DESC, id DESC);

CREATE TABLE interactions (
    customer_id uuid        NOT NULL REFERENCES customers (id),
    id          uuid        NOT NULL,
    kind        text        NOT NULL,
    channel     text        NOT NULL,
    occur_time  timestamptz NOT NULL,
    -- What was said; emptied when the customer is deleted.
    summary     text        NOT NULL,
    subject     text        NOT NULL,
    create_time timestamptz NOT NULL,
    PRIMARY KEY (customer_id, id)
);
CREATE INDEX interactions_latest ON interactions (customer_id, occur_time DESC, id DESC);
