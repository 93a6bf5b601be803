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
