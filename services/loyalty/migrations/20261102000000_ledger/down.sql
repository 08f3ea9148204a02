DROP TABLE posting, entry, lot, ledger_account, member;
DROP FUNCTION ledger_refuse_change, ledger_refuse_imbalance;
