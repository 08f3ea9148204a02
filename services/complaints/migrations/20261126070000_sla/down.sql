DELETE FROM complaint_timeline WHERE action > 8;
ALTER TABLE complaint_timeline DROP CONSTRAINT complaint_timeline_action_known;
ALTER TABLE complaint_timeline
    ADD CONSTRAINT complaint_timeline_action_check CHECK (action BETWEEN 1 AND 8);
DROP TABLE complaint_clocks;
DROP TABLE sla_policies;
