DROP INDEX subject_by_survivor;
DELETE FROM subject WHERE state = 'MERGED';
ALTER TABLE subject
    DROP CONSTRAINT subject_merged_has_survivor,
    DROP COLUMN survivor_id,
    DROP CONSTRAINT subject_state_check,
    ADD CONSTRAINT subject_state_check CHECK (state IN ('OPEN', 'RESTRICTED', 'ERASED'));
