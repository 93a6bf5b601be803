#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""notifications of the order example, in Python: tells the customer. A mail cannot be called back, so its undo is
another mail. Takes the place of `sagabus-order-participants notifications`, with the same tables.

    pip install -r requirements.txt
    SAGABUS_PG=postgresql://… SAGABUS_KAFKA_BOOTSTRAP=broker:9092 SAGABUS_SERVER_URL=http://… ./notifications.py
"""

import psycopg

import contract


def connect():
    return psycopg.connect(contract.setting("PG"), autocommit=True, options="-c search_path=notifications")


def note_effect(db, headers):
    db.execute(
        "INSERT INTO effect (command_id, saga_id, step, direction) VALUES (%s, %s, %s, %s)",
        (headers["ce_id"], headers["ce_sagaid"], headers["ce_sagastep"], headers["ce_sagadirection"]),
    )


def send(template):
    def handle(db, headers, order):
        customer = order.get("customer_id", "")
        if template == "confirmation":
            if db.execute("SELECT 1 FROM unreachable WHERE customer_id = %s", (customer,)).fetchone():
                raise contract.Refused(f"customer {customer} has no address that takes mail")
        db.execute(
            "INSERT INTO outbox (order_id, customer_id, template) VALUES (%s, %s, %s)",
            (order["order_id"], customer, template),
        )
        note_effect(db, headers)

    return handle


def events(headers, order, result):
    if result.get("nothing_to_undo"):
        return
    template = headers["ce_type"].split("send_")[1]
    yield (
        "notification.sent",
        order["order_id"],
        {
            "order_id": order["order_id"],
            "customer_id": order.get("customer_id", ""),
            "channel": "email",
            "template": template,
        },
    )


contract.serve(
    "notifications",
    connect,
    {"send_confirmation": send("confirmation"), "send_cancellation": send("cancellation")},
    events,
)
