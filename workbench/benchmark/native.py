# SPDX-License-Identifier: GPL-2.0
"""Times memfile-bench on the kernel that runs; called by workbench/bench-native."""

import argparse
import json
import pathlib
import platform
import subprocess
import sys

import table
from figures import parse_figures, read_manifest, select

NOTE = """\
Wall-clock time, or instructions of the host without the guest, of one run on a
machine with other things to do: run it several times before you believe a figure.
Targets in instructions are those of `make bench`, and are not judged here.""".splitlines()


def measure(program, clock, works):
    """What the program says, work by work; None if there is no such clock."""
    figures = {}
    for work in works:
        print(f"  {work} ({clock}) ...", flush=True)
        run = subprocess.run([program, "-c", clock, work], stdout=subprocess.PIPE, text=True)
        if run.returncode and clock == "insn" and not figures:
            return None
        if run.returncode:
            sys.exit(f"error: {work} ended with {run.returncode}")
        figures.update(parse_figures(run.stdout.splitlines()))
    return figures


def main():
    parser = argparse.ArgumentParser(prog="native")
    parser.add_argument("--work", type=str.split)
    parser.add_argument("--against", default="", help="results of another kernel")
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    args = parser.parse_args()

    manifest = read_manifest()
    works = select(manifest, args.work,
                   "arm64" if platform.machine() == "aarch64" else platform.machine())
    # There is no guest here to boot.
    works = {name: work for name, work in works.items() if not work.get("guest")}
    for section in manifest["section"]:
        for row in section["rows"]:
            row.pop("target", None)
    against = json.loads(pathlib.Path(args.against).read_text()) if args.against else {}

    result = {"kernel": platform.release(), "figures": {}}
    for clock in ("ns", "insn"):
        figures = measure(args.program, clock, works)
        if figures is None:
            print("there is no PMU that counts instructions")
            continue
        result["figures"][clock] = figures
        other = against.get("figures", {}).get(clock, {})
        sections = table.judge(manifest, works, {"unpatched": other, "ours": figures})
        print(f"\n{platform.release()}, {clock}; beside it {against.get('kernel', 'nothing')}")
        print(table.text(sections, NOTE), end="")
    (args.results / "bench-native.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
