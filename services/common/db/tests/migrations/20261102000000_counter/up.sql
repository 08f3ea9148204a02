CREATE TABLE counter (id uuid PRIMARY KEY, value bigint NOT NULL CONSTRAINT counter_floor CHECK (value >= 0));
