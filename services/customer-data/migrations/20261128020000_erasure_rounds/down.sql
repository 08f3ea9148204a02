ALTER TABLE erasures DROP COLUMN round;
