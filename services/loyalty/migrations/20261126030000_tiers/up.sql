-- Tiers, where members stand, and who brought whom in.

-- A few rows that everybody reads, from a copy in the process. The only table here that is not keyed by a customer: a
-- split database has it in every part.
CREATE TABLE tier (
    id          uuid        PRIMARY KEY,
    code        text        NOT NULL,
    rank        integer     NOT NULL CHECK (rank > 0),
    threshold   bigint      NOT NULL CHECK (threshold >= 0),
    name_zh     text        NOT NULL,
    name_en     text        NOT NULL,
    -- [{"code": …, "zh": …, "en": …, "value": …}]
    benefits    jsonb       NOT NULL,
    version     bigint      NOT NULL CHECK (version > 0),
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT tier_code_once UNIQUE (code),
    CONSTRAINT tier_rank_once UNIQUE (rank)
);

-- Ten characters of Crockford's base 32: 50 bits. Byte 15 of a random UUID is random throughout. For the members that
-- there are, and for those whom a replica of the version before enrols while it is being replaced.
CREATE FUNCTION new_referral_code() RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT string_agg(substr('0123456789ABCDEFGHJKMNPQRSTVWXYZ',
                             1 + (get_byte(uuid_send(gen_random_uuid()), 15) & 31), 1), '')
    FROM generate_series(1, 10)
$$;

ALTER TABLE member
    -- A foreign key, because tiers are decided by a copy that may be a second old: nobody is given one that is gone. It
    -- is looked up only when the tier of a member changes.
    ADD COLUMN tier_id        uuid CONSTRAINT member_tier REFERENCES tier,
    ADD COLUMN tier_since     timestamptz,
    -- The end of the cycle at which the tier is lost if nothing more is earned; NULL: never.
    ADD COLUMN tier_until     timestamptz,
    -- That it is about to be lost has been told.
    ADD COLUMN tier_announced boolean  NOT NULL DEFAULT false,
    -- The qualifying points by the month, of UTC, that they were earned in: those of the month tier_month first, then
    -- those of the months behind it. A month is year * 12 + (month - 1). Months that no window reaches are dropped, so
    -- that the row does not grow with what the member earns.
    ADD COLUMN tier_month     integer  NOT NULL DEFAULT 0,
    ADD COLUMN tier_points    bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN referral_code  text     NOT NULL DEFAULT new_referral_code(),
    -- The customer who is rewarded when the member first buys something; NULL: nobody (any more).
    ADD COLUMN reward_to      uuid,
    ADD CONSTRAINT member_referral_code UNIQUE (referral_code),
    ADD CONSTRAINT member_tier_has_a_beginning CHECK ((tier_id IS NULL) = (tier_since IS NULL));
-- Who holds a tier that is to be deleted.
CREATE INDEX member_by_tier ON member (tier_id) WHERE tier_id IS NOT NULL;

-- Every change of a member's tier. Its version is that of the event that tells it.
CREATE TABLE member_tier_history (
    customer_id uuid        NOT NULL,
    version     bigint      NOT NULL,
    -- No foreign keys: history outlives tiers.
    from_tier   uuid,
    to_tier     uuid,
    reason      text        NOT NULL CHECK (reason IN ('QUALIFIED', 'CYCLE_ENDED')),
    points      bigint      NOT NULL CHECK (points >= 0),
    change_time timestamptz NOT NULL,
    PRIMARY KEY (customer_id, version),
    CONSTRAINT member_tier_history_changes CHECK (from_tier IS DISTINCT FROM to_tier)
);

-- Who brought a member in. Written in the transaction that makes the customer a member, and never again: whoever is
-- brought in has brought nobody in before, so that no circle can come to be.
CREATE TABLE referral (
    customer_id uuid        PRIMARY KEY,
    referrer_id uuid        NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT referral_of_somebody_else CHECK (customer_id <> referrer_id)
);
