"""Reads CTest's JUnit results; names failed tests with what they say of it, and skipped ones.
Closes with "N passed, N failed, N skipped".

usage: summary.py SECONDS FILE...   Exit code 1 when a test failed, or when there was none.

SPDX-License-Identifier: Apache-2.0
"""
import re
import sys
import xml.etree.ElementTree as ElementTree


def reason_of_skip(case):
    """The line `SKIP: reason` that a skipping test prints."""
    for line in (case.findtext("system-out") or "").splitlines():
        before, mark, reason = line.partition("SKIP: ")
        if mark:
            return reason.strip()
    return "no reason given"


def reason_of_failure(case):
    failure = case.find("failure")
    message = failure.get("message", "") if failure is not None else ""
    return message or ("its output is above" if case.get("status") == "fail" else case.get("status"))


# What cmocka and sanitizers say of a fall; the rest of an output may be long.
TELLING = re.compile(r"\[ +(ERROR|LINE|FAILED) +\] |^ERROR: |^==\d+==ERROR|runtime error: |^SUMMARY: ")
LINES_MAX = 24


def lines_of_failure(case):
    """Those that say why; where none does, the last ones."""
    lines = [line for line in (case.findtext("system-out") or "").splitlines() if line.strip()]
    telling = [line for line in lines if TELLING.search(line) and "listed below" not in line]
    return telling[:LINES_MAX] or lines[-LINES_MAX:]


def main(arguments):
    passed, failed, skipped = [], [], []
    for path in arguments[1:]:
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            name = case.get("name")
            if case.get("status") == "disabled":
                skipped.append((name, "disabled"))
            elif case.find("skipped") is not None:
                # CTest calls a program that is not there skipped, too: that is a failure.
                message = case.find("skipped").get("message", "")
                if "SKIP_" in message or message == "":
                    skipped.append((name, reason_of_skip(case)))
                else:
                    failed.append((name, message, []))
            elif case.get("status") == "run":
                passed.append(name)
            else:
                failed.append((name, reason_of_failure(case), lines_of_failure(case)))
    print()
    for name, reason in skipped:
        print(f"skipped {name}: {reason}")
    for name, reason, lines in failed:
        print(f"FAILED  {name}: {reason}")
        for line in lines:
            print(f"        {line[:300]}")
    print(f"the tests took {arguments[0]} s")
    if not passed and not failed and not skipped:
        print("no test matches")
    print(f"{len(passed)} passed, {len(failed)} failed, {len(skipped)} skipped")
    return 1 if failed or not (passed or skipped) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
