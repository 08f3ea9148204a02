-- Customers' erasures across all services, each service's receipt, and what keeps data that somebody wants gone.

CREATE TABLE erasures (
    customer_id    uuid        PRIMARY KEY REFERENCES customers (id),
    state          text        NOT NULL CHECK (state IN ('REQUESTED', 'RESTRICTED', 'ERASING', 'ERASED', 'CANCELLED')),
    ground         text        NOT NULL,
    forfeit_points boolean     NOT NULL,
    -- Who asked, by their subject; never the customer.
    requester      text        NOT NULL,
    version        bigint      NOT NULL CHECK (version > 0),
    create_time    timestamptz NOT NULL,
    update_time    timestamptz NOT NULL,
    finish_time    timestamptz,
    CHECK ((state = 'ERASED') = (finish_time IS NOT NULL))
);

-- The latest answer of each service.
CREATE TABLE erasure_steps (
    customer_id uuid        NOT NULL REFERENCES erasures (customer_id),
    service     text        NOT NULL,
    -- Of the service's own answer: an older one that comes late changes nothing.
    version     bigint      NOT NULL CHECK (version > 0),
    erased      boolean     NOT NULL,
    blockers    text[]      NOT NULL CHECK (array_position(blockers, NULL) IS NULL),
    -- {"complaints": 2}: how many records were erased, by what they are.
    receipt     jsonb       NOT NULL,
    step_time   timestamptz NOT NULL,
    PRIMARY KEY (customer_id, service),
    CHECK (NOT erased OR blockers = '{}')
);

CREATE TABLE legal_holds (
    customer_id uuid        PRIMARY KEY REFERENCES customers (id),
    reference   text        NOT NULL CHECK (reference <> ''),
    actor       text        NOT NULL,
    create_time timestamptz NOT NULL
);
