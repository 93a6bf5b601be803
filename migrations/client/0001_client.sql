-- What a service needs in its own database, in a schema of its own (search_path): the barrier that makes
-- effects happen once and never after their undo.

-- One row a command, inserted first in the transaction of its effect. An undo writes a row for its forward command
-- too when there is none (voided), so that the forward command, coming late, finds that it must not run.
CREATE TABLE barrier (
    command_id uuid PRIMARY KEY,
    saga_id    uuid NOT NULL,
    step       text NOT NULL,
    direction  text NOT NULL CHECK (direction IN ('forward', 'compensate')),
    outcome    text NOT NULL CHECK (outcome IN ('success', 'failure', 'voided')),
    reply      bytea,                           -- the reply's body: a repeat is told the same bytes again
    error      text,
    at         timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (fillfactor = 80);
CREATE INDEX barrier_at ON barrier (at);
