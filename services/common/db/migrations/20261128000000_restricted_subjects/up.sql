-- For those who are to be erased: what stands in the way may come and go for each of them, also for one in whose way
-- nothing stands now.
CREATE INDEX subject_restricted ON subject (customer_id) WHERE state = 'RESTRICTED';
DROP INDEX subject_blocked;
