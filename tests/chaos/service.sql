-- The books of one service of the chaos test, in its schema; and what it really did, append-only and without any
-- key on purpose: the checker reads it, nothing else does. Accounts begin with 1000000 each.
CREATE TABLE account (name text PRIMARY KEY, balance bigint NOT NULL, hold bigint NOT NULL DEFAULT 0);
CREATE TABLE effect (effect_no bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
    saga_id uuid NOT NULL, step text NOT NULL, compensate boolean NOT NULL, delta bigint NOT NULL);
INSERT INTO account (name, balance) SELECT 'a' || i, 1000000 FROM generate_series(0, 99) i;
