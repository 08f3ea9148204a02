-- A person who is known under two names: the row of the name that went says whose everything is now.
ALTER TABLE subject
    ADD COLUMN survivor_id uuid,
    DROP CONSTRAINT subject_state_check,
    ADD CONSTRAINT subject_state_check
        CHECK (state IN ('OPEN', 'RESTRICTED', 'ERASED', 'MERGED')) NOT VALID,
    ADD CONSTRAINT subject_merged_has_survivor
        CHECK ((state = 'MERGED') = (survivor_id IS NOT NULL)) NOT VALID;
ALTER TABLE subject VALIDATE CONSTRAINT subject_state_check;
ALTER TABLE subject VALIDATE CONSTRAINT subject_merged_has_survivor;
-- For the names that went into one that goes itself.
CREATE INDEX subject_by_survivor ON subject (survivor_id) WHERE survivor_id IS NOT NULL;
