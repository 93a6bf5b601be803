#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
//
// payment of the order example, for Node: takes the amount from the customer's account, and gives it back. Takes the
// place of `sagabus-order-participants payment`, with the same tables.
//
//   npm ci
//   SAGABUS_PG=postgresql://… SAGABUS_KAFKA_BOOTSTRAP=broker:9092 SAGABUS_SERVER_URL=http://… node payment.js
'use strict';

const { Refused, serve, die } = require('./contract');

const noteEffect = (db, headers) =>
  db.query('INSERT INTO effect (command_id, saga_id, step, direction) VALUES ($1, $2, $3, $4)', [
    headers.ce_id,
    headers.ce_sagaid,
    headers.ce_sagastep,
    headers.ce_sagadirection,
  ]);

// The command's id is the payment's: the same over all attempts, and an undo carries it.
async function charge(db, headers, order) {
  const taken = await db.query(
    'UPDATE account SET balance = balance - $2 WHERE customer_id = $1 AND balance >= $2',
    [order.customer_id, order.amount],
  );
  if (taken.rowCount === 0)
    throw new Refused(`customer ${order.customer_id} cannot pay ${order.amount} ${order.currency}`);
  await db.query(
    'INSERT INTO payment (payment_id, order_id, customer_id, amount, currency) VALUES ($1, $2, $3, $4, $5)',
    [headers.ce_id, order.order_id, order.customer_id, order.amount, order.currency],
  );
  await noteEffect(db, headers);
  return { payment_id: headers.ce_id };
}

async function refund(db, headers) {
  const back = await db.query(
    `WITH gone AS (UPDATE payment SET refunded = true WHERE payment_id = $1 AND NOT refunded
                   RETURNING customer_id, amount, currency)
     UPDATE account a SET balance = balance + g.amount FROM gone g WHERE a.customer_id = g.customer_id
     RETURNING g.customer_id, g.amount, g.currency`,
    [headers.ce_sagaforwardid],
  );
  if (back.rowCount !== 1) throw new Error(`payment ${headers.ce_sagaforwardid} is not there to be refunded`);
  await noteEffect(db, headers);
  const { customer_id, amount, currency } = back.rows[0];
  return { customer_id, amount: Number(amount), currency };
}

function* events(headers, order, result) {
  const undo = headers.ce_sagadirection === 'compensate';
  if (undo && result.nothing_to_undo) return;
  yield {
    type: undo ? 'payment.refunded' : 'payment.charged',
    subject: order.order_id,
    data: {
      order_id: order.order_id,
      customer_id: undo ? result.customer_id : order.customer_id,
      payment_id: undo ? headers.ce_sagaforwardid : headers.ce_id,
      amount: undo ? result.amount : order.amount,
      currency: undo ? result.currency : order.currency,
    },
  };
}

serve('payment', { charge, refund }, events).catch(die);
