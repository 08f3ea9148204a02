DROP TABLE referral, member_tier_history;
ALTER TABLE member
    DROP COLUMN tier_id, DROP COLUMN tier_since, DROP COLUMN tier_until, DROP COLUMN tier_announced,
    DROP COLUMN tier_month, DROP COLUMN tier_points, DROP COLUMN referral_code, DROP COLUMN reward_to;
DROP FUNCTION new_referral_code;
DROP TABLE tier;
