#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the barrier of docs/contract.md in MariaDB: a server of its own on a socket, without networking and without
accounts, and the `mariadb` client a connection. Beside what test_barrier.py tries: an insert waits for the transaction
that has the same command in hand, and the look after it sees what that one committed, snapshot or not.

Skipped (77) where mariadbd is not installed (Debian: mariadb-server-core, mariadb-client-core). SB_TEST_MARIADB_ROOT:
where it is unpacked, if not at /."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left in the source tree
import barrier  # noqa: E402

ROOT = os.environ.get("SB_TEST_MARIADB_ROOT", "")
SERVER, CLIENT, MESSAGES = ROOT + "/usr/sbin/mariadbd", ROOT + "/usr/bin/mariadb", ROOT + "/usr/share/mysql"
PATIENCE_S = 60
SQL = barrier.statements(Path(sys.argv[1]).read_text(encoding="utf-8"), "MySQL")


def literal(value):
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return "x'" + value.hex() + "'"
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


class Answer:
    def __init__(self, lines, rowcount):
        self.rows = [tuple(None if text == "NULL" else text for text in line.split("\t")) for line in lines]
        self.rowcount = rowcount

    def fetchone(self):
        return self.rows[0] if self.rows else None

    def __iter__(self):
        return iter(self.rows)


class Session:
    """One connection: the client reads statements from a pipe and says when each is done."""

    def __init__(self, socket, database="test"):
        arguments = [CLIENT, "--no-defaults", "--force", "--batch", "--skip-column-names", "--unbuffered"]
        self.client = subprocess.Popen([*arguments, "--socket=" + socket, database], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def execute(self, sql, values=()):
        self.send(sql, values)
        return self.receive()

    def send(self, sql, values=()):
        for value in values:
            sql = sql.replace("?", literal(value), 1)
        self.client.stdin.write(sql + ";\nSELECT '--done', ROW_COUNT();\n")
        self.client.stdin.flush()

    def receive(self):
        lines = []
        while True:
            line = self.client.stdout.readline()
            if not line:
                raise RuntimeError("the client ended: " + "".join(lines))
            if line.startswith("--done\t"):
                break
            lines.append(line.rstrip("\n"))
        errors = [text for text in lines if text.startswith("ERROR ")]
        if errors:
            raise RuntimeError(errors[0])
        return Answer(lines, int(line.split("\t")[1]))

    def close(self):
        self.client.stdin.close()
        self.client.wait(PATIENCE_S)
        self.client.stdout.close()


def await_that(what, holds):
    until = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until, what
        time.sleep(0.2)  # the server's view of transactions is made anew only when nobody read it for a tenth


def an_insert_waits_and_then_sees(gate, connect, commits):
    """Also a transaction whose snapshot is older than the other's commit."""
    name = "waits-" + ("commit" if commits else "rollback")
    first, second, look = connect(), connect(), connect()
    for session in (first, second):
        session.execute("BEGIN")
        session.execute("SELECT count(*) FROM barrier")
    barrier.expect(gate.insert(first, name, "forward", "success"), 1)
    gate.keep(first, name, "success", b"{\"n\": 1}", None)
    second.send(gate.sql["INSERT"], (name, "saga", "step", "forward", "success"))
    await_that("the second insert waits", lambda: look.execute(
        "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'").fetchone() == ("1",))
    first.execute("COMMIT" if commits else "ROLLBACK")
    barrier.expect(second.receive().rowcount, 0 if commits else 1)
    if commits:
        barrier.expect(gate.find(second, name), ("success", b"{\"n\": 1}", None))
    second.execute("ROLLBACK")
    for session in (first, second, look):
        session.close()


def run(folder):
    socket = folder + "/s"
    who = ["--user=root"] if os.geteuid() == 0 else []
    with open(folder + "/log", "w", encoding="utf-8") as log:
        server = subprocess.Popen([SERVER, "--no-defaults", *who, "--datadir=" + folder + "/data", "--socket=" + socket,
                                   "--pid-file=" + folder + "/pid", "--lc-messages-dir=" + MESSAGES, "--skip-networking",
                                   "--skip-grant-tables", "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M",
                                   "--innodb-flush-log-at-trx-commit=2"], stdout=log, stderr=log)
    try:
        await_that("mariadbd listens", lambda: os.path.exists(socket) or server.poll() is not None)
        if server.poll() is not None:
            sys.exit("mariadbd ended:\n" + Path(folder + "/log").read_text(encoding="utf-8"))
        first = Session(socket, "information_schema")
        first.execute("CREATE DATABASE test")
        version = first.execute("SELECT version()").fetchone()[0]
        first.execute("USE test")
        first.execute(SQL["CREATE"].strip().rstrip(";"))
        first.execute("CREATE TABLE effect (no INT PRIMARY KEY AUTO_INCREMENT, what TEXT)")
        first.close()
        gate = barrier.Barrier(SQL, "BEGIN")
        barrier.all_of_it(gate, lambda: Session(socket))
        for commits in (True, False):
            an_insert_waits_and_then_sees(gate, lambda: Session(socket), commits)
    finally:
        server.kill()
        server.wait()
    print("the barrier of the contract holds in MariaDB", version)


if not os.access(SERVER, os.X_OK) or not os.access(CLIENT, os.X_OK):
    print("SKIP: mariadbd is not installed: the barrier's MySQL form is not tried")
    sys.exit(77)
with tempfile.TemporaryDirectory() as place:
    os.mkdir(place + "/data")
    run(place)
