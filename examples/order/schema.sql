-- The participants' own tables, one schema each, and enough stock and money to try things. The barriers come from
-- `sagabus migrate --only client --schema NAME`. Safe to run again.
SET client_min_messages = warning;
CREATE SCHEMA IF NOT EXISTS customers;
CREATE SCHEMA IF NOT EXISTS inventory;
CREATE SCHEMA IF NOT EXISTS payment;
CREATE SCHEMA IF NOT EXISTS orders;
CREATE SCHEMA IF NOT EXISTS notifications;

DO $$
DECLARE s text;
BEGIN
    FOREACH s IN ARRAY ARRAY['customers', 'inventory', 'payment', 'orders', 'notifications'] LOOP
        -- what was really executed: append-only, read by tests alone, without any key on purpose
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I.effect (effect_no bigint GENERATED ALWAYS AS IDENTITY, '
            'at timestamptz NOT NULL DEFAULT clock_timestamp(), command_id uuid, saga_id uuid, step text, direction text)', s);
    END LOOP;
END $$;

CREATE TABLE IF NOT EXISTS customers.customer (customer_id text PRIMARY KEY, blocked boolean NOT NULL DEFAULT false);
INSERT INTO customers.customer (customer_id, blocked)
VALUES ('ada', false), ('grace', false), ('alan', false), ('edsger', false), ('mallory', true)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS inventory.stock (
    sku text PRIMARY KEY, available int NOT NULL CHECK (available >= 0), reserved int NOT NULL DEFAULT 0 CHECK (reserved >= 0));
CREATE TABLE IF NOT EXISTS inventory.reservation (order_id text NOT NULL, sku text NOT NULL, quantity int NOT NULL);
CREATE INDEX IF NOT EXISTS reservation_order ON inventory.reservation (order_id);
INSERT INTO inventory.stock (sku, available) VALUES ('book', 100000), ('lamp', 100000), ('violin', 1)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS payment.account (customer_id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0));
CREATE TABLE IF NOT EXISTS payment.payment (
    payment_id uuid PRIMARY KEY, order_id text NOT NULL, customer_id text NOT NULL, amount bigint NOT NULL CHECK (amount >= 0),
    currency text NOT NULL, refunded boolean NOT NULL DEFAULT false);
INSERT INTO payment.account (customer_id, balance)
VALUES ('ada', 100000000), ('grace', 500), ('alan', 100000000), ('edsger', 100000000)
ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS orders.orders (
    order_id text PRIMARY KEY, customer_id text NOT NULL, amount bigint NOT NULL, currency text NOT NULL,
    status text NOT NULL DEFAULT 'confirmed');

CREATE TABLE IF NOT EXISTS notifications.outbox (
    sent_at timestamptz NOT NULL DEFAULT clock_timestamp(), order_id text NOT NULL, customer_id text NOT NULL, template text NOT NULL);
CREATE TABLE IF NOT EXISTS notifications.unreachable (customer_id text PRIMARY KEY);
INSERT INTO notifications.unreachable VALUES ('alan') ON CONFLICT DO NOTHING;
