// SPDX-License-Identifier: Apache-2.0
//
// The contract of docs/contract.md for Node: the barrier, the reply, the position. Nothing of sagabus is required;
// copy it into your service and change what you like.
'use strict';

const crypto = require('node:crypto');
const { Kafka, logLevel } = require('kafkajs');
const { Client } = require('pg');

const REPLY_BYTES_MAX = 512 * 1024;

// A business refusal: nothing happened, and nothing will under this command id.
class Refused extends Error {}

// ---- settings ----

const setting = (name, otherwise = '') => process.env['SAGABUS_' + name] || otherwise;
const prefixed = (name) => setting('KAFKA_PREFIX') + name;

const kafka = () =>
  new Kafka({
    clientId: 'sagabus-example',
    brokers: setting('KAFKA_BOOTSTRAP', '127.0.0.1:9092').split(','),
    logLevel: logLevel.WARN,
  });

// An offset is committed after the work, never before.
function consumer(group) {
  return kafka().consumer({
    groupId: prefixed(group),
    sessionTimeout: 6000,
    heartbeatInterval: 1000,
    allowAutoTopicCreation: false,
  });
}

// SAGABUS_PG is a URI or, as libpq has it, keywords: host=/run/postgresql port=5432 user=me dbname=shop
function database() {
  const text = setting('PG');
  if (text.includes('://')) return { connectionString: text };
  const words = Object.fromEntries(text.split(/\s+/).filter(Boolean).map((word) => word.split('=')));
  const { host, port, user, password, dbname: database } = words;
  return { host, port: Number(port || 5432), user, password, database };
}

async function connect(schema) {
  const db = new Client({ ...database(), options: `-c search_path=${schema}` });
  db.on('error', die); // what is not answered comes again to whoever runs next
  await db.connect();
  return db;
}

function die(trouble) {
  console.error(trouble);
  process.exit(1);
}

// The headers as text, the last of a name counting.
function headersOf(message) {
  const text = {};
  for (const [name, value] of Object.entries(message.headers || {})) {
    const last = Array.isArray(value) ? value[value.length - 1] : value;
    if (last !== null && last !== undefined) text[name] = last.toString('utf8');
  }
  return text;
}

// ---- the barrier (in the caller's transaction, READ COMMITTED) ----

const INSERT = `INSERT INTO barrier (command_id, saga_id, step, direction, outcome) VALUES ($1, $2, $3, $4, $5)
                ON CONFLICT (command_id) DO NOTHING`;
const FIND = 'SELECT outcome, reply, error FROM barrier WHERE command_id = $1';
const KEEP = 'UPDATE barrier SET outcome = $2, reply = $3, error = $4 WHERE command_id = $1';

async function keep(db, command, answer) {
  await db.query(KEEP, [command, answer.outcome, Buffer.from(answer.reply), answer.error || null]);
  return answer;
}

function repeated(row) {
  if (row.outcome === 'voided') return { outcome: 'failure', reply: '{}', error: 'voided: its undo came first' };
  return { outcome: row.outcome, reply: row.reply ? row.reply.toString('utf8') : '{}', error: row.error };
}

// What an undo finds of its forward command; true: it had its effect, undo it.
async function mustUndo(db, headers) {
  const forward = headers.ce_sagaforwardid;
  const row = [forward, headers.ce_sagaid, headers.ce_sagastep, 'forward', 'voided'];
  const neverRan = (await db.query(INSERT, row)).rowCount === 1;
  if (neverRan && headers.ce_sagaforward === 'completed')
    throw new Error('the forward command was answered with success, but there is no row of it');
  if (neverRan) return false;
  return (await db.query(FIND, [forward])).rows[0].outcome === 'success';
}

// Runs handle() unless the command was here before.
async function answerOnce(db, headers, handle) {
  const command = headers.ce_id;
  const undo = headers.ce_sagadirection === 'compensate';
  const row = [command, headers.ce_sagaid, headers.ce_sagastep, headers.ce_sagadirection, 'success'];
  // First statement: it waits for a transaction that has the same command in hand.
  if ((await db.query(INSERT, row)).rowCount === 0) return repeated((await db.query(FIND, [command])).rows[0]);
  if (undo && !(await mustUndo(db, headers)))
    return keep(db, command, { outcome: 'success', reply: '{"nothing_to_undo":true}' });
  await db.query('SAVEPOINT handler'); // a refusal leaves nothing of what the handler wrote
  try {
    const reply = JSON.stringify((await handle()) || {});
    if (Buffer.byteLength(reply) > REPLY_BYTES_MAX) throw new Error('the result is larger than 512 KiB');
    return keep(db, command, { outcome: 'success', reply });
  } catch (refusal) {
    if (undo || !(refusal instanceof Refused)) throw refusal; // an undo has no failure: it is asked for again
    await db.query('ROLLBACK TO SAVEPOINT handler');
    return keep(db, command, { outcome: 'failure', reply: '{}', error: refusal.message });
  }
}

async function inTransaction(db, work) {
  await db.query('BEGIN ISOLATION LEVEL READ COMMITTED');
  try {
    const result = await work();
    await db.query('COMMIT');
    return result;
  } catch (trouble) {
    await db.query('ROLLBACK');
    throw trouble;
  }
}

// ---- a participant ----

async function answer(db, headers, value, handlers) {
  try {
    const handle = handlers[headers.ce_type.slice(headers.ce_type.indexOf('.') + 1)];
    if (!handle) throw new Error(`no action ${headers.ce_type}`);
    return await inTransaction(db, () => answerOnce(db, headers, () => handle(db, headers, JSON.parse(value))));
  } catch (trouble) {
    return { outcome: 'error', reply: '{}', error: trouble.message }; // could not say: rolled back, asked for again
  }
}

function replyTo(name, headers, { outcome, reply, error }) {
  const own = {
    ce_specversion: '1.0',
    ce_id: crypto.randomUUID(),
    ce_type: headers.ce_type + '.reply',
    ce_source: '/participants/' + name,
    ce_causationid: headers.ce_id,
    'content-type': 'application/json',
    ce_sagaoutcome: outcome,
  };
  if (error) own.ce_sagaerror = Buffer.from(error).subarray(0, 500).toString('utf8').replace(/\ufffd+$/, '');
  for (const header of ['ce_correlationid', 'traceparent']) if (headers[header]) own[header] = headers[header];
  const echoed = Object.fromEntries(Object.entries(headers).filter(([header]) => header.startsWith('ce_saga')));
  return {
    topic: headers.ce_sagareplyto,
    acks: -1,
    messages: [
      {
        partition: Number(headers.ce_sagareplypart),
        key: headers.ce_sagaid,
        value: reply,
        headers: { ...echoed, ...own },
      },
    ],
  };
}

// A UUID of version 5: the same for the same command and name, so that a repeat appends nothing.
function idFrom(space, name) {
  const hash = crypto.createHash('sha1').update(Buffer.from(space.replace(/-/g, ''), 'hex')).update(name).digest();
  hash[6] = (hash[6] & 0x0f) | 0x50;
  hash[8] = (hash[8] & 0x3f) | 0x80;
  const hex = hash.subarray(0, 16).toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

// Appends an event over HTTP.
async function publish(name, headers, { type, subject, data }) {
  const body = {
    type,
    subject,
    source: '/participants/' + name,
    id: idFrom(headers.ce_id, type),
    causationid: headers.ce_id,
    correlationid: headers.ce_correlationid,
    traceparent: headers.traceparent,
    data,
  };
  const request = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) };
  if (setting('SERVER_TOKEN')) request.headers.authorization = 'Bearer ' + setting('SERVER_TOKEN');
  const response = await fetch(setting('SERVER_URL', 'http://127.0.0.1:8088') + '/v1/events', request);
  if (!response.ok) throw new Error(`${type} was not appended: ${response.status} ${await response.text()}`);
}

// Calls work for each record of a topic in order, and commits its offset after it. What fails ends the process, and
// comes again to the next.
async function eachRecord(group, topic, work) {
  const incoming = consumer(group);
  await incoming.connect();
  await incoming.subscribe({ topic: prefixed(topic), fromBeginning: true });
  // kafkajs stops reading after what it takes for final, and the process would sit there.
  incoming.on(incoming.events.CRASH, ({ payload }) => payload.restart || die(payload.error));
  for (const name of ['SIGTERM', 'SIGINT']) process.once(name, () => incoming.disconnect().then(() => process.exit(0)));
  await incoming.run({
    autoCommit: false,
    eachMessage: async ({ topic: from, partition, message }) => {
      await work(message, from, partition).catch(die);
      await incoming.commitOffsets([{ topic: from, partition, offset: String(BigInt(message.offset) + 1n) }]);
    },
  });
}

// Answers the commands of <prefix>cmd.<name>. handlers: action -> async function (db, headers, input). events: what to
// publish for a command that succeeded; see the contract on why that is after the commit and before the reply, for
// repeats too.
async function serve(name, handlers, events = () => []) {
  const db = await connect(name);
  const outgoing = kafka().producer({ idempotent: true, allowAutoTopicCreation: false });
  await outgoing.connect();
  await eachRecord(name, 'cmd.' + name, async (message) => {
    const headers = headersOf(message);
    if (!headers.ce_sagareplyto) return;
    const value = message.value ? message.value.toString('utf8') : '';
    const answered = await answer(db, headers, value, handlers);
    if (answered.outcome === 'success')
      for (const event of events(headers, JSON.parse(value), JSON.parse(answered.reply)))
        await publish(name, headers, event);
    await outgoing.send(replyTo(name, headers, answered));
  });
}

// ---- a subscriber's position ----

// What a record at position is to a reader at mine: 'next', 'repeat' or 'gap'. Numbers are BigInt.
function compare(position, mine) {
  if (position.incarnation !== mine.incarnation) return position.incarnation > mine.incarnation ? 'next' : 'repeat';
  if (position.seq <= mine.seq) return 'repeat';
  return position.prev > mine.seq ? 'gap' : 'next';
}

module.exports = { Refused, setting, connect, die, headersOf, inTransaction, eachRecord, serve, compare };
