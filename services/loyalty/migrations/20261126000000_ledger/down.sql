DROP TABLE entry_source, entry, hold_lot, hold, lot, member;
DROP FUNCTION ledger_refuse_change;
