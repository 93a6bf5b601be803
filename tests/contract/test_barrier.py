#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the barrier of docs/contract.md in SQLite: the four orders, a refusal, a crash before the commit, and several
connections with the same commands."""

import sqlite3
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True  # nothing is left in the source tree
import barrier  # noqa: E402

SQL = barrier.statements(Path(sys.argv[1]).read_text(encoding="utf-8"), "SQLite")

with tempfile.TemporaryDirectory() as folder:

    def connect():
        return sqlite3.connect(folder + "/db", isolation_level=None, timeout=60)

    database = connect()
    database.execute(SQL["CREATE"])
    database.execute("CREATE TABLE effect (no INTEGER PRIMARY KEY, what TEXT)")
    database.close()
    barrier.all_of_it(barrier.Barrier(SQL, "BEGIN IMMEDIATE"), connect)
print("the barrier of the contract holds in SQLite", sqlite3.sqlite_version)
