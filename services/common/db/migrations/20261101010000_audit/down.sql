DROP TABLE audit_head, audit_release;
DROP FUNCTION audit_refuse_change;
