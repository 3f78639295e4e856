# SPDX-License-Identifier: GPL-2.0
"""Judges results against the record of the base, prints and stores them."""

import csv
import sys


FIELDS = ("test", "result", "seconds", "reason", "where")


class Report:
    def __init__(self, directory, base):
        self.base = base
        self.counts = {"pass": 0, "fail": 0, "skip": 0}
        self.file = open(directory / "results.tsv", "w", newline="")
        self.table = csv.writer(self.file, delimiter="\t", lineterminator="\n")
        self.table.writerow(FIELDS)
        print("KTAP version 1", flush=True)

    def add(self, name, result, seconds, reason="", splat=None, where="", log=None):
        """Record what the test itself says: pass, fail or skip.

        Where is the assertion that failed: a test that fails on the base has to
        fail at the same one.
        """
        if splat:
            result, reason = "fail", f"splat: {splat}"
        elif before := self.base.get(name):
            result, reason = judge(before, result, reason, where)

        self.counts[result] += 1
        number = sum(self.counts.values())
        self.table.writerow((name, result, f"{seconds:.1f}", reason, where))
        self.file.flush()

        if result == "skip":
            note = f"SKIP {reason}"
        else:
            note = f"{seconds:.1f}s {reason}".rstrip()
        status = "ok"
        if result == "fail":
            status = "not ok"
            note += f" {where}".rstrip() + (f", see {log}" if log else "")
        print(f"{status} {number} {name} # {note}", flush=True)

    def budgets(self, groups):
        print(f"# {'group':40} {'budget':>7} {'used':>7}")
        for group in groups:
            over = "  over" if group.used > group.budget else ""
            print(f"# {group.name:40} {group.budget:6}s {group.used:6.0f}s{over}")

    def close(self, mark):
        print(f"1..{sum(self.counts.values())}")
        counts = self.counts
        print(f"{counts['pass']} passed, {counts['fail']} failed, "
              f"{counts['skip']} skipped{mark}")
        sys.stdout.flush()
        self.file.close()
        return 1 if counts["fail"] or not counts["pass"] else 0


def judge(before, result, reason, where):
    """The result of a test that has one on the base."""
    if before["result"] == "pass":
        if result == "skip":
            return "fail", f"skipped, but passes on the base: {reason}"
    elif result == "fail":
        if before["result"] == "fail" and before["where"] == where:
            return "skip", f"fails as on the base: {before['reason']}"
        return "fail", f"{reason}, otherwise than on the base"
    elif result == "skip":
        return "skip", before["reason"]
    return result, reason


def read_results(paths):
    """The rows of recorded results, by the test's name."""
    rows = {}
    for path in paths:
        with open(path, newline="") as file:
            rows.update((row["test"], row) for row in csv.DictReader(file, delimiter="\t"))
    return rows
