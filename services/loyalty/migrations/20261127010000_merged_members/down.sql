DROP INDEX voucher_code_of, referral_by_referrer, entry_reverses_of;
-- What was taken back under another name is taken for the member's own, and so is a name that went.
ALTER TABLE entry DROP CONSTRAINT entry_reverses_of_something, DROP COLUMN reverses_of;
UPDATE member_tier_history SET reason = 'QUALIFIED' WHERE reason = 'MERGED';
UPDATE member SET state = 'FROZEN' WHERE state = 'MERGED';
ALTER TABLE member_tier_history
    DROP CONSTRAINT member_tier_history_reason_check,
    ADD CONSTRAINT member_tier_history_reason_check CHECK (reason IN ('QUALIFIED', 'CYCLE_ENDED'));
ALTER TABLE member
    DROP CONSTRAINT member_state_check,
    ADD CONSTRAINT member_state_check CHECK (state IN ('ACTIVE', 'FROZEN'));
