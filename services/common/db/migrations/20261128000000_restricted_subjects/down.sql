CREATE INDEX subject_blocked ON subject (customer_id) WHERE blockers <> '{}';
DROP INDEX subject_restricted;
