-- Members who turn out to be other ones.

ALTER TABLE member
    DROP CONSTRAINT member_state_check,
    ADD CONSTRAINT member_state_check CHECK (state IN ('ACTIVE', 'FROZEN', 'MERGED')) NOT VALID;
ALTER TABLE member VALIDATE CONSTRAINT member_state_check;
ALTER TABLE member_tier_history
    DROP CONSTRAINT member_tier_history_reason_check,
    ADD CONSTRAINT member_tier_history_reason_check
        CHECK (reason IN ('QUALIFIED', 'CYCLE_ENDED', 'MERGED')) NOT VALID;
ALTER TABLE member_tier_history VALIDATE CONSTRAINT member_tier_history_reason_check;

-- Whose entry is taken back, when it was made under a name that was merged into this one; NULL: the member's own.
ALTER TABLE entry
    ADD COLUMN reverses_of uuid,
    ADD CONSTRAINT entry_reverses_of_something CHECK (reverses_of IS NULL OR reverses IS NOT NULL) NOT VALID;
ALTER TABLE entry VALIDATE CONSTRAINT entry_reverses_of_something;
-- What has been taken back of an entry under other names.
CREATE INDEX entry_reverses_of ON entry (reverses_of, reverses) WHERE reverses_of IS NOT NULL;

-- Whom a member has brought in: they follow to the name that stays.
CREATE INDEX referral_by_referrer ON referral (referrer_id);
-- The codes of the vouchers that follow.
CREATE INDEX voucher_code_of ON voucher_code (voucher_id);
