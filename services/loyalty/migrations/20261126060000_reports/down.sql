DROP TABLE breakage_estimate, ledger_close, ledger_day;
DROP INDEX entry_time;
