-- Which request of a customer's erasure the present one is; 0: it was asked for by a version that counted none.
ALTER TABLE erasures ADD COLUMN round bigint NOT NULL DEFAULT 0 CHECK (round >= 0);
