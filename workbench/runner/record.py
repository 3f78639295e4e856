# SPDX-License-Identifier: GPL-2.0
"""record.py RESULTS RECORD: make results the record of the base.

A reason that the record has for the same result stays.
"""

import csv
import os
import sys

from report import FIELDS, read_results

results, record = sys.argv[1:]
old = read_results([record]) if os.path.exists(record) else {}

with open(record + ".new", "w", newline="") as file:
    table = csv.DictWriter(file, FIELDS, delimiter="\t", lineterminator="\n")
    table.writeheader()
    for name, row in read_results([results]).items():
        if "boot" in name.split(".")[1]:
            continue
        before = old.get(name)
        if before and before["result"] == row["result"]:
            row["reason"] = before["reason"]
        table.writerow(row)
os.rename(record + ".new", record)
