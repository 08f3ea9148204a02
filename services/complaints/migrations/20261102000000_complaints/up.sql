-- Complaints and what was done about them. The numbers of channel, category, severity, remedy, state and action are
-- those of cqm.complaints.v1.

-- The number in a complaint's reference. Gaps are fine: a number that was drawn by a failed call is not used again.
CREATE SEQUENCE complaint_reference;

CREATE TABLE complaints (
    -- A UUIDv7: in the order of registration.
    id                     uuid        PRIMARY KEY,
    reference              text        NOT NULL CONSTRAINT complaints_reference_key UNIQUE,
    customer_id            uuid        NOT NULL,
    channel                smallint    NOT NULL CHECK (channel BETWEEN 1 AND 7),
    category               smallint    NOT NULL CHECK (category BETWEEN 1 AND 7),
    severity               smallint    NOT NULL CHECK (severity BETWEEN 1 AND 4),
    -- Ascending from the most severe, so that (severity_rank, id) is one ascending key for lists and their pages.
    severity_rank          smallint    NOT NULL GENERATED ALWAYS AS (-severity) STORED,
    subject                text        NOT NULL,
    description            text        NOT NULL,
    remedy_sought          smallint    CHECK (remedy_sought BETWEEN 1 AND 7),
    remedy_note            text        NOT NULL,
    state                  smallint    NOT NULL CHECK (state BETWEEN 1 AND 5),
    assignee               text        CHECK (assignee <> ''),
    responsible_department text,
    cause                  smallint    CHECK (cause BETWEEN 1 AND 7),
    cause_explanation      text,
    resolution_version     bigint      CHECK (resolution_version > 0),
    resolution_summary     text,
    compensation_points    bigint      CHECK (compensation_points >= 0),
    resolution_time        timestamptz,
    reopen_count           integer     NOT NULL CHECK (reopen_count >= 0),
    acknowledge_time       timestamptz,
    close_time             timestamptz,
    create_time            timestamptz NOT NULL,
    update_time            timestamptz NOT NULL,
    version                bigint      NOT NULL CHECK (version > 0),
    CONSTRAINT complaints_root_cause_whole
        CHECK (num_nulls(responsible_department, cause, cause_explanation) IN (0, 3)),
    CONSTRAINT complaints_resolution_whole
        CHECK (num_nulls(resolution_version, resolution_summary, compensation_points, resolution_time) IN (0, 4)),
    CONSTRAINT complaints_resolved_has_resolution
        CHECK (state NOT IN (4, 5) OR resolution_version IS NOT NULL),
    CONSTRAINT complaints_closed_has_time
        CHECK ((state = 5) = (close_time IS NOT NULL))
);

-- A list by customer or by assignee reads that one's complaints, which are few, and looks at the rest of the filter
-- row by row. Every other combination of filters has an index of its own that also gives the order.
CREATE INDEX complaints_by_customer ON complaints (customer_id, id);
CREATE INDEX complaints_by_assignee ON complaints (assignee, id) WHERE assignee IS NOT NULL;
CREATE INDEX complaints_by_state ON complaints (state, id);
CREATE INDEX complaints_by_category ON complaints (category, id);
CREATE INDEX complaints_by_state_category ON complaints (state, category, id);
CREATE INDEX complaints_by_severity ON complaints (severity_rank, id);
CREATE INDEX complaints_by_state_severity ON complaints (state, severity_rank, id);
CREATE INDEX complaints_by_category_severity ON complaints (category, severity_rank, id);
CREATE INDEX complaints_by_state_category_severity ON complaints (state, category, severity_rank, id);

-- Append-only: one row for every version of a complaint, written in the transaction that made the version.
CREATE TABLE complaint_timeline (
    complaint_id uuid        NOT NULL REFERENCES complaints (id),
    version      bigint      NOT NULL CHECK (version > 0),
    time         timestamptz NOT NULL,
    action       smallint    NOT NULL CHECK (action BETWEEN 1 AND 8),
    -- NULL at the registration.
    from_state   smallint    CHECK (from_state BETWEEN 1 AND 5),
    to_state     smallint    NOT NULL CHECK (to_state BETWEEN 1 AND 5),
    actor        text        NOT NULL,
    facts        jsonb       NOT NULL,
    note         text        NOT NULL,
    PRIMARY KEY (complaint_id, version)
);
