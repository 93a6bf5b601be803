-- Who may call the API. Only the hash is kept; a key is shown once, when it is made.
CREATE TABLE api_key (
    key_id     text PRIMARY KEY,               -- the part of the key that finds it
    name       text NOT NULL UNIQUE,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    scopes     int NOT NULL,                   -- 1 read, 2 write, 4 admin
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);

-- What operators did beside acts on one saga, which saga_command keeps: acts on many, keys made and revoked. Never changed.
CREATE TABLE audit (
    audit_no bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    who      text NOT NULL,                        -- name of the API key, or db:ROLE for what the CLI does in the database
    act      text NOT NULL,                        -- saga.retry, key.create, …
    target   text,
    reason   text,
    detail   jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_at ON audit (at DESC, audit_no DESC);
