# SPDX-License-Identifier: Apache-2.0
"""The barrier of docs/contract.md, steps 1 to 4, over any database, and what must hold of it. The statements are
taken from the page itself, so that the page is what is tested.

A database here has execute(sql, values), whose answer has rowcount, fetchone() and rows; and `begin`."""

import re
import threading


def statements(page, dialect):
    block = re.search(r"```sql\n-- " + dialect + r"\n(.*?)```", page, re.S).group(1)
    parts = re.split(r"^-- (INSERT|FIND|KEEP)[^\n]*\n", block, flags=re.M)
    return {"CREATE": parts[0], **{name: sql.strip().rstrip(";") for name, sql in zip(parts[1::2], parts[2::2])}}


class Refused(Exception):
    pass


class Barrier:
    def __init__(self, sql, begin):
        self.sql = sql
        self.begin = begin

    def answer(self, db, command, undo_of, forward, work):
        db.execute(self.begin)
        try:
            result = self.steps(db, command, undo_of, forward, work)
            db.execute("COMMIT")
            return result
        except Exception:
            db.execute("ROLLBACK")
            raise

    def steps(self, db, command, undo_of, forward, work):
        direction = "compensate" if undo_of else "forward"
        if self.insert(db, command, direction, "success") == 0:
            outcome, reply, error = self.find(db, command)
            return ("failure", b"", "voided") if outcome == "voided" else (outcome, reply, error)
        if undo_of:
            never_ran = self.insert(db, undo_of, "forward", "voided") == 1
            if never_ran and forward == "completed":
                raise LookupError("lost")
            if never_ran or self.find(db, undo_of)[0] != "success":
                return self.keep(db, command, "success", b"{}", None)
        db.execute("SAVEPOINT handler")
        try:
            reply = work(db)
        except Refused as refusal:
            db.execute("ROLLBACK TO SAVEPOINT handler")
            return self.keep(db, command, "failure", b"{}", str(refusal))
        return self.keep(db, command, "success", reply, None)

    def insert(self, db, command, direction, outcome):
        return db.execute(self.sql["INSERT"], (command, "saga", "step", direction, outcome)).rowcount

    def find(self, db, command):
        outcome, reply, error = db.execute(self.sql["FIND"], (command,)).fetchone()
        return outcome, reply.encode() if isinstance(reply, str) else reply, error

    def keep(self, db, command, *kept):
        assert db.execute(self.sql["KEEP"], (*kept, command)).rowcount == 1
        return kept


def effect(text):
    def work(db):
        db.execute("INSERT INTO effect (what) VALUES (?)", (text,))
        return text.encode()

    return work


def refuse(db):
    db.execute("INSERT INTO effect (what) VALUES ('taken back')")
    raise Refused("no")


def crash(db):
    db.execute("INSERT INTO effect (what) VALUES ('never')")
    raise OSError("crash")


def effects(db):
    return [row[0] for row in db.execute("SELECT what FROM effect ORDER BY no")]


def expect(what, want):
    assert what == want, f"{what!r}, expected {want!r}"


def the_four_orders(barrier, db):
    answer = barrier.answer
    expect(answer(db, "a", None, None, effect("do a")), ("success", b"do a", None))
    expect(answer(db, "a", None, None, effect("again")), ("success", b"do a", None))
    expect(answer(db, "ua", "a", "completed", effect("undo a"))[0], "success")
    expect(answer(db, "ua", "a", "completed", effect("again"))[0], "success")
    expect(answer(db, "ub", "b", "unknown", effect("undo b"))[0], "success")
    expect(answer(db, "b", None, None, effect("do b"))[0], "failure")
    expect(effects(db), ["do a", "undo a"])


def a_refusal_leaves_its_row_only(barrier, db):
    expect(barrier.answer(db, "r", None, None, refuse), ("failure", b"{}", "no"))
    expect(barrier.answer(db, "r", None, None, effect("r")), ("failure", b"{}", "no"))
    expect(barrier.answer(db, "ur", "r", "unknown", effect("undo r"))[0], "success")
    expect(effects(db), ["do a", "undo a"])


def what_was_not_committed_begins_from_nothing(barrier, db):
    for attempt in (crash, crash):
        try:
            barrier.answer(db, "c", None, None, attempt)
            raise AssertionError("it did not crash")
        except OSError:
            pass
    try:
        barrier.answer(db, "ul", "lost", "completed", effect("undo lost"))
        raise AssertionError("an undo of what is not known passed")
    except LookupError:
        pass
    expect(barrier.answer(db, "lost", None, None, effect("not lost"))[0], "success")
    expect(barrier.answer(db, "c", None, None, effect("do c"))[0], "success")
    expect(effects(db)[2:], ["not lost", "do c"])


def of_many_at_once_one_runs(barrier, connect):
    def run():
        db = connect()
        for i in range(50):
            replies.append((i, barrier.answer(db, f"m{i}", None, None, effect(f"do m{i}"))[1]))
        db.close()

    replies = []
    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expect(len(replies), 200)
    assert all(reply == f"do m{i}".encode() for i, reply in replies)


def all_of_it(barrier, connect):
    db = connect()
    the_four_orders(barrier, db)
    a_refusal_leaves_its_row_only(barrier, db)
    what_was_not_committed_begins_from_nothing(barrier, db)
    of_many_at_once_one_runs(barrier, connect)
    many = [what for what in effects(db) if what.startswith("do m")]
    expect((len(many), len(set(many))), (50, 50))
    db.close()
