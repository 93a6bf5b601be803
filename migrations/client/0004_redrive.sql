-- The budget of dead letters that are handed over again at a rate: one for all members of a subscription. Whoever is to
-- hand something over pays first, and nobody does before the time that was paid for is over.
CREATE TABLE redrive_budget (
    subscription text PRIMARY KEY,
    free_at      timestamptz NOT NULL
) WITH (fillfactor = 20);
