-- Customers who turned out to be another one, and each service's receipt. Whose everything is now, however often the
-- survivor was merged on, stands in the table of subjects.

CREATE TABLE merges (
    -- Whose name goes.
    customer_id uuid        PRIMARY KEY REFERENCES customers (id),
    -- Whose name stays, as it was asked for.
    survivor_id uuid        NOT NULL REFERENCES customers (id),
    state       text        NOT NULL CHECK (state IN ('MERGING', 'MERGED')),
    -- Who asked, by their subject; never the customer.
    requester   text        NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    finish_time timestamptz,
    CHECK (customer_id <> survivor_id),
    CHECK ((state = 'MERGED') = (finish_time IS NOT NULL))
);

CREATE TABLE merge_steps (
    customer_id uuid        NOT NULL REFERENCES merges (customer_id),
    service     text        NOT NULL,
    -- {"complaints": 2}: how many records became the survivor's, by what they are.
    receipt     jsonb       NOT NULL,
    step_time   timestamptz NOT NULL,
    PRIMARY KEY (customer_id, service)
);
