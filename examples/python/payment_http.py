#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""payment of the order example over HTTP: takes the amount from the customer's account, and gives it back. Within its
step it asks another service, credit.py, and waits for the answer. Takes the place of
`sagabus-order-participants payment`, with the same tables.

    SAGABUS_PG=… SAGABUS_SERVER_URL=http://… CREDIT_URL=http://127.0.0.1:9002/ PORT=9001 ./payment_http.py
    SAGABUS_PARTICIPANT_PAYMENT_URL=http://127.0.0.1:9001/ sagabus serve …

A call to another service within a step:

- The time for it comes out of the step's. The engine says in ce-expirytime until when it waits; of what is left we keep
  a second for our own work, and tell credit the rest in the same way. Neither works for somebody who has gone.
- It comes before the first row that others want is locked, so that a slow credit holds up nobody's payment but this one.
- It asks and changes nothing, so it needs no undo and may be asked again. A call that changes something is a step of
  its own: then the engine knows that it happened, and undoes it.
- A clear "no" is a business refusal. No answer is not: it is an error of class external, and the engine tries again.
"""

import json
import os
import urllib.request
from datetime import datetime, timedelta, timezone

import psycopg

import contract
import contract_http

OWN_TIME = 1.0  # seconds that we need after the answer of credit


def connect():
    return psycopg.connect(contract.setting("PG"), autocommit=True, options="-c search_path=payment")


def ask_credit(headers, order):
    left = contract_http.time_left(headers) - OWN_TIME
    if left <= 0:
        raise TimeoutError("no time is left to ask for credit")
    until = datetime.now(timezone.utc) + timedelta(seconds=left)
    request = urllib.request.Request(
        os.environ["CREDIT_URL"],
        json.dumps({"customer_id": order["customer_id"], "amount": order["amount"]}).encode(),
        {"Content-Type": "application/json", "ce-expirytime": until.isoformat()},
    )
    for header, name in (("traceparent", "traceparent"), ("ce_correlationid", "ce-correlationid")):
        if header in headers:
            request.add_header(name, headers[header])
    with urllib.request.urlopen(request, timeout=left) as answer:
        if not json.load(answer)["granted"]:
            raise contract.Refused(f"customer {order['customer_id']} has no credit for {order['amount']}")


def note_effect(db, headers):
    db.execute(
        "INSERT INTO effect (command_id, saga_id, step, direction) VALUES (%s, %s, %s, %s)",
        (headers["ce_id"], headers["ce_sagaid"], headers["ce_sagastep"], headers["ce_sagadirection"]),
    )


# The command's id is the payment's: the same over all attempts, and an undo carries it.
def charge(db, headers, order):
    ask_credit(headers, order)
    taken = db.execute(
        "UPDATE account SET balance = balance - %s WHERE customer_id = %s AND balance >= %s",
        (order["amount"], order["customer_id"], order["amount"]),
    )
    if taken.rowcount == 0:
        raise contract.Refused(f"customer {order['customer_id']} cannot pay {order['amount']} {order['currency']}")
    db.execute(
        "INSERT INTO payment (payment_id, order_id, customer_id, amount, currency) VALUES (%s, %s, %s, %s, %s)",
        (headers["ce_id"], order["order_id"], order["customer_id"], order["amount"], order["currency"]),
    )
    note_effect(db, headers)
    return {"payment_id": headers["ce_id"]}


def refund(db, headers, order):
    back = db.execute(
        """WITH gone AS (UPDATE payment SET refunded = true WHERE payment_id = %s AND NOT refunded
                         RETURNING customer_id, amount, currency)
           UPDATE account a SET balance = balance + g.amount FROM gone g WHERE a.customer_id = g.customer_id
           RETURNING g.customer_id, g.amount, g.currency""",
        (headers["ce_sagaforwardid"],),
    ).fetchall()
    if len(back) != 1:
        raise RuntimeError(f"payment {headers['ce_sagaforwardid']} is not there to be refunded")
    note_effect(db, headers)
    customer, amount, currency = back[0]
    return {"customer_id": customer, "amount": amount, "currency": currency}


def events(headers, order, result):
    undo = headers["ce_sagadirection"] == "compensate"
    if undo and result.get("nothing_to_undo"):
        return
    source = result if undo else order
    data = {name: source[name] for name in ("customer_id", "amount", "currency")}
    data["order_id"] = order["order_id"]
    data["payment_id"] = headers["ce_sagaforwardid"] if undo else headers["ce_id"]
    yield ("payment.refunded" if undo else "payment.charged", order["order_id"], data)


if __name__ == "__main__":
    contract_http.serve(
        "payment",
        connect,
        {"charge": charge, "refund": refund},
        events,
        port=int(os.environ.get("PORT", "9001")),
        secret=os.environ.get("SECRET", ""),
    )
