-- The times in which complaints are to be handled: policies in their versions, and the clocks of complaints.

-- Append-only: a version never changes, and copies of it in processes are never old.
CREATE TABLE sla_policies (
    version     bigint      PRIMARY KEY CHECK (version > 0),
    -- The calendar, the targets and the warning, as the service reads them; minutes are counted from midnight.
    content     jsonb       NOT NULL,
    create_time timestamptz NOT NULL
);

-- Two rows for each complaint that was registered under a policy. They are written under the complaint's lock.
CREATE TABLE complaint_clocks (
    complaint_id   uuid        NOT NULL REFERENCES complaints (id),
    clock          text        NOT NULL CHECK (clock IN ('FIRST_RESPONSE', 'RESOLUTION')),
    -- No foreign key, though there is such a version: each registration would lock the row of the newest one, and all of
    -- them the same.
    policy_version bigint      NOT NULL,
    -- Microseconds of open time: what the handling may take, and what it had taken when the clock last began or ended.
    target_us      bigint      NOT NULL CHECK (target_us > 0),
    consumed_us    bigint      NOT NULL CHECK (consumed_us >= 0),
    resume_time    timestamptz NOT NULL,
    warn_time      timestamptz NOT NULL,
    due_time       timestamptz NOT NULL,
    -- NULL: it runs.
    end_time       timestamptz,
    told           text        NOT NULL CHECK (told IN ('NOTHING', 'WARNING', 'BREACH')),
    -- When the next thing is to be told about it; NULL: nothing is.
    tell_time      timestamptz,
    PRIMARY KEY (complaint_id, clock)
);
CREATE INDEX complaint_clocks_to_tell ON complaint_clocks (tell_time) WHERE tell_time IS NOT NULL;
-- The clocks of open complaints, which are few: for lists by due time, and counted by what they show.
CREATE INDEX complaint_clocks_running ON complaint_clocks (due_time, complaint_id, clock, warn_time)
    WHERE end_time IS NULL;

-- Two more actions. The rows that are there have kept a narrower check, so that nothing is to be validated.
ALTER TABLE complaint_timeline DROP CONSTRAINT complaint_timeline_action_check;
ALTER TABLE complaint_timeline
    ADD CONSTRAINT complaint_timeline_action_known CHECK (action BETWEEN 1 AND 10) NOT VALID;
