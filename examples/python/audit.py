#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A subscriber: one row for each event of <prefix>order.events, exactly once, in a schema of its own.

Position and row are one transaction. The row of the position is locked first: of two processes that think they own
the partition, the later finds its records handled and drops them.

    SAGABUS_PG=… SAGABUS_KAFKA_BOOTSTRAP=… ./audit.py [SCHEMA]
"""

import sys

import psycopg

import contract

SCHEMA = sys.argv[1] if len(sys.argv) > 1 else "audit_python"
TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.reader_position (topic text, partition int, incarnation bigint NOT NULL,
    seq bigint NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS {SCHEMA}.seen (event_id text, type text, subject text, seq bigint, traceparent text);
CREATE TABLE IF NOT EXISTS {SCHEMA}.trouble (what text, after_seq bigint, before_seq bigint);
"""


def handle(db, message):
    headers = contract.headers_of(message)
    position = [int(n) for n in headers["sb-pos"].split(".")]
    incarnation, _, seq, prev = position
    where = (message.topic(), message.partition())
    with db.transaction():
        # A reader that begins in the middle takes the first record's prev as its own position.
        db.execute(
            "INSERT INTO reader_position VALUES (%s, %s, %s, %s) ON CONFLICT DO NOTHING", (*where, incarnation, prev)
        )
        mine = db.execute(
            "SELECT incarnation, seq FROM reader_position WHERE topic = %s AND partition = %s FOR UPDATE", where
        ).fetchone()
        verdict = contract.compare(position, mine)
        if verdict == "repeat":
            return
        if verdict == "gap":  # here one would fetch them: GET /v1/events?category=order&after=…
            print(f"events after {mine[1]} up to {prev} are missing on {where}", file=sys.stderr, flush=True)
            db.execute("INSERT INTO trouble VALUES ('gap', %s, %s)", (mine[1], prev))
        db.execute(
            "INSERT INTO seen VALUES (%s, %s, %s, %s, %s)",
            (headers["ce_id"], headers["ce_type"], headers.get("ce_subject"), seq, headers.get("traceparent")),
        )
        db.execute(
            "UPDATE reader_position SET incarnation = %s, seq = %s WHERE topic = %s AND partition = %s",
            (incarnation, seq, *where),
        )


stop = contract.Stop()
connection = psycopg.connect(contract.setting("PG"), autocommit=True, options=f"-c search_path={SCHEMA}")
connection.execute(TABLES)
incoming = contract.consumer(SCHEMA, "order.events")
while not stop:
    record = incoming.poll(0.25)
    if record is None or record.error():
        continue
    if "sb-pos" in contract.headers_of(record):  # anything else in this topic is not the store's
        handle(connection, record)
    incoming.commit(record, asynchronous=False)
incoming.close()
