-- Who may call the API. Only the hash is kept; a key is shown once, when it is made.
CREATE TABLE api_key (
    key_id     text PRIMARY KEY,               -- the part of the key that finds it
    name       text NOT NULL UNIQUE,
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    scopes     int NOT NULL,                   -- 1 read, 2 write, 4 admin
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    revoked_at timestamptz
);
