-- Events that their topic would not take: a stand-in (sagabus.withheld) has their place on Kafka. Written with the
-- relay's cursor.
CREATE TABLE relay_withheld (
    seq       bigint PRIMARY KEY,
    event_id  uuid NOT NULL,
    type      text NOT NULL COLLATE "C",
    topic     text NOT NULL COLLATE "C",
    partition int NOT NULL,
    bytes     bigint NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Events topics that an operator wants filled again from the store; the relay does it, one at a time, in order.
CREATE TABLE relay_rebuild (
    rebuild_no   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    category     text NOT NULL COLLATE "C",
    recreate     boolean NOT NULL,             -- delete the topic first when it is not empty
    requested_by text NOT NULL,
    requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    done_seq     bigint NOT NULL DEFAULT 0,    -- read up to here
    upto_seq     bigint,                       -- and to be read up to here
    sent         bigint NOT NULL DEFAULT 0,
    ended_at     timestamptz,
    error        text                          -- why it was not done
);
CREATE UNIQUE INDEX relay_rebuild_open ON relay_rebuild (category) WHERE ended_at IS NULL;
