-- The log's own tables are enough for a source of events.
SELECT 1;
