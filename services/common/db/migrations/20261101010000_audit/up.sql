-- What was told of personal data, to whom and what for. Rows are written before the answer leaves and never again: the
-- database refuses every other statement, whoever makes it, and each row's hash covers the row before.

CREATE TABLE audit_release (
    sequence  bigint      PRIMARY KEY CHECK (sequence > 0),
    time      timestamptz NOT NULL,
    caller    text        NOT NULL,
    -- Roles, purpose and kinds by their numbers in cqm.options.v1.
    roles     integer[]   NOT NULL,
    purpose   integer     NOT NULL,
    reference text        NOT NULL,
    method    text        NOT NULL,
    kinds     integer[]   NOT NULL,
    customers uuid[]      NOT NULL,
    resources text[]      NOT NULL,
    trace_id  text        NOT NULL,
    hash      bytea       NOT NULL
);
CREATE INDEX audit_release_by_customer ON audit_release USING gin (customers);
CREATE INDEX audit_release_by_caller ON audit_release (caller, sequence);
CREATE INDEX audit_release_by_time ON audit_release (time);

-- One row; its lock is held while a batch of releases is written.
CREATE TABLE audit_head (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    sequence  bigint  NOT NULL,
    hash      bytea   NOT NULL
);
INSERT INTO audit_head (sequence, hash) VALUES (0, '\x');

CREATE FUNCTION audit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is append-only: no % of %', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'check_violation', CONSTRAINT = TG_NAME;
END $$;
CREATE TRIGGER audit_release_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_release
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
CREATE TRIGGER audit_head_stays BEFORE DELETE OR TRUNCATE ON audit_head
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse_change();
