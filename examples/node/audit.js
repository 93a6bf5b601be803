#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// A subscriber: one row for each event of <prefix>order.events, exactly once, in a schema of its own.
//
// Position and row are one transaction. The row of the position is locked first: of two processes that think they own
// the partition, the later finds its records handled and drops them.
//
//   SAGABUS_PG=… SAGABUS_KAFKA_BOOTSTRAP=… node audit.js [SCHEMA]
'use strict';

const { connect, die, headersOf, inTransaction, eachRecord, compare } = require('./contract');

const schema = process.argv[2] || 'audit_node';
const tables = `
CREATE SCHEMA IF NOT EXISTS ${schema};
CREATE TABLE IF NOT EXISTS ${schema}.reader_position (topic text, partition int, incarnation bigint NOT NULL,
    seq bigint NOT NULL, PRIMARY KEY (topic, partition));
CREATE TABLE IF NOT EXISTS ${schema}.seen (event_id text, type text, subject text, seq bigint, traceparent text);
CREATE TABLE IF NOT EXISTS ${schema}.trouble (what text, after_seq bigint, before_seq bigint);`;

async function handle(db, headers, topic, partition) {
  const [incarnation, , seq, prev] = headers['sb-pos'].split('.').map(BigInt);
  // A reader that begins in the middle takes the first record's prev as its own position.
  const begin = 'INSERT INTO reader_position VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING';
  await db.query(begin, [topic, partition, incarnation, prev]);
  const found = await db.query(
    'SELECT incarnation, seq FROM reader_position WHERE topic = $1 AND partition = $2 FOR UPDATE',
    [topic, partition],
  );
  const mine = { incarnation: BigInt(found.rows[0].incarnation), seq: BigInt(found.rows[0].seq) };
  const verdict = compare({ incarnation, seq, prev }, mine);
  if (verdict === 'repeat') return;
  if (verdict === 'gap') {
    // Here one would fetch them: GET /v1/events?category=order&after=…
    console.error(`events after ${mine.seq} up to ${prev} are missing on ${topic} ${partition}`);
    await db.query("INSERT INTO trouble VALUES ('gap', $1, $2)", [mine.seq, prev]);
  }
  await db.query('INSERT INTO seen VALUES ($1, $2, $3, $4, $5)', [
    headers.ce_id,
    headers.ce_type,
    headers.ce_subject,
    seq,
    headers.traceparent,
  ]);
  await db.query('UPDATE reader_position SET incarnation = $3, seq = $4 WHERE topic = $1 AND partition = $2', [
    topic,
    partition,
    incarnation,
    seq,
  ]);
}

async function main() {
  const db = await connect(schema);
  await db.query(tables);
  await eachRecord(schema, 'order.events', async (message, topic, partition) => {
    const headers = headersOf(message);
    if (headers['sb-pos']) // anything else in this topic is not the store's
      await inTransaction(db, () => handle(db, headers, topic, partition));
  });
}

main().catch(die);
