-- Persons whose data is to go or has gone: nothing new is taken about them, unless the erasure was called off (OPEN). A
-- row is for ever, so that what comes late
-- about a person who was erased finds it.
CREATE TABLE subject (
    customer_id    uuid        PRIMARY KEY,
    state          text        NOT NULL CHECK (state IN ('OPEN', 'RESTRICTED', 'ERASED')),
    -- Points and vouchers do not stand in the way.
    forfeit_points boolean     NOT NULL,
    -- What stands in the way of the erasure, as words.
    blockers       text[]      NOT NULL CHECK (array_position(blockers, NULL) IS NULL),
    version        bigint      NOT NULL CHECK (version > 0),
    update_time    timestamptz NOT NULL,
    CHECK (state = 'RESTRICTED' OR blockers = '{}')
);
-- For those who wait.
CREATE INDEX subject_blocked ON subject (customer_id) WHERE blockers <> '{}';
