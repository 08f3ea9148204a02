-- Which request of an erasure the service was told last; 0: a version that counted none told it.
ALTER TABLE subject ADD COLUMN round bigint NOT NULL DEFAULT 0 CHECK (round >= 0);
