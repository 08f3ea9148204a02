DROP INDEX complaints_open_by_severity, complaints_open;
