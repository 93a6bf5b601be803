#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the barrier of docs/contract.md in SQLite: the statements are taken from the page itself, so that the page is
what is tested. The four orders, a refusal, a crash before the commit, and two processes with the same command."""

import re
import sqlite3
import sys
import tempfile
import threading
from pathlib import Path

PAGE = Path(sys.argv[1]).read_text(encoding="utf-8")


def statements():
    block = re.search(r"```sql\n-- SQLite\n(.*?)```", PAGE, re.S).group(1)
    parts = re.split(r"^-- (INSERT|FIND|KEEP)\n", block, flags=re.M)
    return {"CREATE": parts[0], **dict(zip(parts[1::2], parts[2::2]))}


SQL = statements()


class Refused(Exception):
    pass


def answer(db, command, undo_of, forward, work):
    """Steps 1 to 4 of the page."""
    db.execute("BEGIN IMMEDIATE")
    try:
        result = steps(db, command, undo_of, forward, work)
        db.execute("COMMIT")
        return result
    except Exception:
        db.execute("ROLLBACK")
        raise


def steps(db, command, undo_of, forward, work):
    direction = "compensate" if undo_of else "forward"
    if db.execute(SQL["INSERT"], (command, "saga", "step", direction, "success")).rowcount == 0:
        outcome, reply, error = db.execute(SQL["FIND"], (command,)).fetchone()
        return ("failure", b"", "voided") if outcome == "voided" else (outcome, reply, error)
    if undo_of:
        never_ran = db.execute(SQL["INSERT"], (undo_of, "saga", "step", "forward", "voided")).rowcount == 1
        if never_ran and forward == "completed":
            raise LookupError("lost")
        if never_ran or db.execute(SQL["FIND"], (undo_of,)).fetchone()[0] != "success":
            return keep(db, command, "success", b"{}", None)
    db.execute("SAVEPOINT handler")
    try:
        reply = work(db)
    except Refused as refusal:
        db.execute("ROLLBACK TO SAVEPOINT handler")
        return keep(db, command, "failure", b"{}", str(refusal))
    return keep(db, command, "success", reply, None)


def keep(db, command, *kept):
    assert db.execute(SQL["KEEP"], (*kept, command)).rowcount == 1
    return kept


def effect(text):
    def work(db):
        db.execute("INSERT INTO effect VALUES (?)", (text,))
        return text.encode()

    return work


def refuse(db):
    db.execute("INSERT INTO effect VALUES ('taken back')")
    raise Refused("no")


def crash(db):
    db.execute("INSERT INTO effect VALUES ('never')")
    raise OSError("crash")


def effects(db):
    return [row[0] for row in db.execute("SELECT what FROM effect ORDER BY rowid")]


def expect(what, want):
    assert what == want, f"{what!r}, expected {want!r}"


def the_four_orders(db):
    expect(answer(db, "a", None, None, effect("do a")), ("success", b"do a", None))
    expect(answer(db, "a", None, None, effect("again")), ("success", b"do a", None))
    expect(answer(db, "ua", "a", "completed", effect("undo a"))[0], "success")
    expect(answer(db, "ua", "a", "completed", effect("again"))[0], "success")
    expect(answer(db, "ub", "b", "unknown", effect("undo b"))[0], "success")
    expect(answer(db, "b", None, None, effect("do b"))[0], "failure")
    expect(effects(db), ["do a", "undo a"])


def a_refusal_leaves_its_row_only(db):
    expect(answer(db, "r", None, None, refuse), ("failure", b"{}", "no"))
    expect(answer(db, "r", None, None, effect("r")), ("failure", b"{}", "no"))
    expect(answer(db, "ur", "r", "unknown", effect("undo r"))[0], "success")
    expect(effects(db), ["do a", "undo a"])


def what_was_not_committed_begins_from_nothing(db):
    for attempt in (crash, crash):
        try:
            answer(db, "c", None, None, attempt)
            raise AssertionError("it did not crash")
        except OSError:
            pass
    try:
        answer(db, "ul", "lost", "completed", effect("undo lost"))
        raise AssertionError("an undo of what is not known passed")
    except LookupError:
        pass
    expect(answer(db, "lost", None, None, effect("not lost"))[0], "success")
    expect(answer(db, "c", None, None, effect("do c"))[0], "success")
    expect(effects(db)[2:], ["not lost", "do c"])


def of_many_at_once_one_runs(path):
    def run():
        db = sqlite3.connect(path, isolation_level=None, timeout=30)
        for i in range(50):
            replies.append((i, answer(db, f"m{i}", None, None, effect(f"do m{i}"))[1]))
        db.close()

    replies = []
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(len(replies), 200)
    assert all(reply == f"do m{i}".encode() for i, reply in replies)


with tempfile.TemporaryDirectory() as folder:
    file = folder + "/db"
    database = sqlite3.connect(file, isolation_level=None)
    database.execute(SQL["CREATE"])
    database.execute("CREATE TABLE effect (what TEXT)")
    the_four_orders(database)
    a_refusal_leaves_its_row_only(database)
    what_was_not_committed_begins_from_nothing(database)
    of_many_at_once_one_runs(file)
    many = [what for what in effects(database) if what.startswith("do m")]
    expect((len(many), len(set(many))), (50, 50))
print("the barrier of the contract holds in SQLite", sqlite3.sqlite_version)
