# SPDX-License-Identifier: Apache-2.0
"""The contract of docs/contract.md in Python: the barrier, the reply, the position. Nothing of sagabus is imported;
copy it into your service and change what you like."""

import json
import os
import signal
import sys
import urllib.request
import uuid

from confluent_kafka import Consumer, Producer

REPLY_BYTES_MAX = 512 * 1024


class Refused(Exception):
    """A business refusal: nothing happened, and nothing will under this command id."""


# ---- settings ----


def setting(name, default=""):
    return os.environ.get("SAGABUS_" + name, default)


def prefixed(name):
    return setting("KAFKA_PREFIX") + name


def consumer(group, topic):
    # An offset is committed after the work, never before. The instance id lets a restarted process take its
    # partitions back at once instead of after the session time-out.
    c = Consumer(
        {
            "bootstrap.servers": setting("KAFKA_BOOTSTRAP", "127.0.0.1:9092"),
            "group.id": prefixed(group),
            "group.instance.id": prefixed(group) + "." + setting("INSTANCE", "1"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "partition.assignment.strategy": "cooperative-sticky",
            "session.timeout.ms": 10000,
            "allow.auto.create.topics": False,
        }
    )
    c.subscribe([prefixed(topic)])
    return c


class Stop:
    """True after SIGTERM or SIGINT."""

    def __init__(self):
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_):
        self.asked = True

    def __bool__(self):
        return self.asked


def headers_of(message):
    """The headers as text, the last of a name counting."""
    return {name: value.decode() for name, value in message.headers() or [] if value is not None}


# ---- the barrier (in the caller's transaction, READ COMMITTED) ----

INSERT = """INSERT INTO barrier (command_id, saga_id, step, direction, outcome) VALUES (%s, %s, %s, %s, %s)
            ON CONFLICT (command_id) DO NOTHING"""
FIND = "SELECT outcome, reply, error FROM barrier WHERE command_id = %s"
KEEP = "UPDATE barrier SET outcome = %s, reply = %s, error = %s WHERE command_id = %s"


def answer_once(db, headers, handle):
    """Runs handle() unless the command was here before, and returns (outcome, reply bytes, error text)."""
    command, undo = headers["ce_id"], headers["ce_sagadirection"] == "compensate"
    row = (headers["ce_sagaid"], headers["ce_sagastep"])
    # First statement: it waits for a transaction that has the same command in hand.
    if db.execute(INSERT, (command, *row, headers["ce_sagadirection"], "success")).rowcount == 0:
        return repeated(*db.execute(FIND, (command,)).fetchone())
    if undo:
        forward = headers["ce_sagaforwardid"]
        never_ran = db.execute(INSERT, (forward, *row, "forward", "voided")).rowcount == 1
        if never_ran and headers["ce_sagaforward"] == "completed":
            raise RuntimeError("the forward command was answered with success, but there is no row of it")
        if never_ran or db.execute(FIND, (forward,)).fetchone()[0] != "success":
            return keep(db, command, "success", b'{"nothing_to_undo":true}', None)
    try:
        with db.transaction():  # a savepoint: a refusal leaves nothing of what the handler wrote
            reply = json.dumps(handle() or {}).encode()
            if len(reply) > REPLY_BYTES_MAX:
                raise RuntimeError("the result is larger than 512 KiB")
    except Refused as refusal:
        if undo:  # an undo has no failure: it is asked for again
            raise RuntimeError(str(refusal)) from refusal
        return keep(db, command, "failure", b"{}", str(refusal))
    return keep(db, command, "success", reply, None)


def keep(db, command, outcome, reply, error):
    db.execute(KEEP, (outcome, reply, error, command))
    return outcome, reply, error


def repeated(outcome, reply, error):
    if outcome == "voided":
        return "failure", b"{}", "voided: its undo came first"
    return outcome, bytes(reply or b"{}"), error


# ---- a participant ----


def serve(name, connect, handlers, events=lambda *_: ()):
    """Answers the commands of <prefix>cmd.<name> until it is told to stop. handlers: action -> function of (db,
    headers, input). events: what to publish for a command that succeeded; see the contract on why it is done after
    the commit and before the reply, for repeats too."""
    stop, incoming = Stop(), consumer(name, "cmd." + name)
    outgoing = Producer({"bootstrap.servers": setting("KAFKA_BOOTSTRAP", "127.0.0.1:9092"), "enable.idempotence": True})
    db = connect()
    while not stop:
        message = incoming.poll(0.25)
        if message is None or message.error():
            continue
        headers = headers_of(message)
        if "ce_sagareplyto" in headers:
            outcome, reply, error = answer(db, headers, message.value(), handlers)
            if outcome == "success":
                for event in events(headers, json.loads(message.value()), json.loads(reply)):
                    publish(name, headers, event)
            send_reply(outgoing, name, headers, outcome, reply, error)
        incoming.commit(message, asynchronous=False)
    incoming.close()


def answer(db, headers, value, handlers):
    try:
        handle = handlers[headers["ce_type"].split(".", 1)[1]]
        with db.transaction():
            return answer_once(db, headers, lambda: handle(db, headers, json.loads(value)))
    except Exception as trouble:  # could not say: rolled back, asked for again
        if db.closed or db.broken:
            sys.exit(f"the database is gone: {trouble}")  # not answered: it comes again
        return "error", b"", str(trouble)


def send_reply(producer, name, headers, outcome, reply, error):
    echoed = [(h, v) for h, v in headers.items() if h.startswith("ce_saga")]
    own = [
        ("ce_specversion", "1.0"),
        ("ce_id", str(uuid.uuid4())),
        ("ce_type", headers["ce_type"] + ".reply"),
        ("ce_source", "/participants/" + name),
        ("ce_causationid", headers["ce_id"]),
        ("content-type", "application/json"),
        ("ce_sagaoutcome", outcome),
    ]
    if error:
        own.append(("ce_sagaerror", error.encode()[:500].decode(errors="ignore")))
    own += [(h, headers[h]) for h in ("ce_correlationid", "traceparent") if h in headers]
    failed = []
    producer.produce(
        headers["ce_sagareplyto"],
        partition=int(headers["ce_sagareplypart"]),
        key=headers["ce_sagaid"],
        value=reply or b"{}",
        headers=own + echoed,
        on_delivery=lambda err, _: failed.append(err) if err else None,
    )
    if producer.flush(30) or failed:
        sys.exit(f"the reply was not taken: {failed}")  # not committed: the command comes again


def publish(name, headers, event):
    """Appends an event over HTTP. Its id follows from the command, so that a repeat appends nothing."""
    kind, subject, data = event
    body = {
        "type": kind,
        "subject": subject,
        "source": "/participants/" + name,
        "id": str(uuid.uuid5(uuid.UUID(headers["ce_id"]), kind)),
        "causationid": headers["ce_id"],
        "data": data,
    }
    for header, member in (("ce_correlationid", "correlationid"), ("traceparent", "traceparent")):
        if header in headers:
            body[member] = headers[header]
    url = setting("SERVER_URL", "http://127.0.0.1:8088") + "/v1/events"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    if setting("SERVER_TOKEN"):
        request.add_header("Authorization", "Bearer " + setting("SERVER_TOKEN"))
    try:
        urllib.request.urlopen(request, timeout=30).close()
    except OSError as trouble:
        sys.exit(f"{kind} was not appended: {trouble}")  # not answered: the command comes again


# ---- a subscriber's position ----


def compare(position, mine):
    """What a record at position is to a reader at mine: "next", "repeat" or "gap"."""
    incarnation, _, seq, prev = position
    if incarnation != mine[0]:
        return "next" if incarnation > mine[0] else "repeat"
    if seq <= mine[1]:
        return "repeat"
    return "gap" if prev > mine[1] else "next"
