# SPDX-License-Identifier: GPL-2.0
"""Counts the instructions of memfile-bench; called by workbench/bench.

Every work is done in a boot of its own, so that its figures do not depend on what
else is asked for. What there is to report, and what the figures should be, is in
bench.toml.
"""

import argparse
import json
import pathlib
import signal
import sys
import time

import curves
import machines
import table
from figures import read_manifest, select

NOTE = """\
insn: instructions of the host kernel, the program and the guest together, as an
emulator counts them. That is the length of a path and no more: a cache miss, a TLB
miss, the walk of a page table, a world switch and an interrupt to another CPU cost
what any instruction does, or nothing. The same image repeats to the digit; another
one moves figures by half a percent. '-': the kernel does not offer it. What the
unpatched kernel does instead of a conversion is to set the VM's attributes and to
free the memory that is not used any more.""".splitlines()


def parse():
    parser = argparse.ArgumentParser(prog="benchmark")
    parser.add_argument("--arch", required=True)
    parser.add_argument("--initramfs", required=True, type=pathlib.Path,
                        help="directory of what the machines boot from")
    parser.add_argument("--work", type=str.split, help="names; none selects all")
    parser.add_argument("--jobs", type=int, default=1, help="machines at a time")
    parser.add_argument("--twice", action="store_true", help="see that figures repeat")
    parser.add_argument("--mark", default="", help="to end the last line with")
    parser.add_argument("tree", type=pathlib.Path)
    parser.add_argument("pristine", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    return parser.parse_args()


def repeat(works, args):
    """Whether all figures of the first boot are those of the second one."""
    figures = machines.run(works, {"first": args.tree, "second": args.tree}, args)
    first, second = figures["first"], figures["second"]
    differ = [f"{key}: {first.get(key)}, then {second.get(key)}"
              for key in sorted(first.keys() | second.keys())
              if first.get(key) != second.get(key)]
    print("\n".join(differ + [f"{len(first)} figures, {len(differ)} differ{args.mark}"]))
    return 0 if first and not differ else 1


def compare(manifest, works, args):
    start = time.monotonic()
    figures = machines.run(works, {"unpatched": args.pristine, "ours": args.tree}, args)
    sections = table.judge(manifest, works, figures)
    text = table.text(sections, NOTE)
    pictures = curves.draw(manifest, works, figures, args.results / "bench")
    (args.results / "bench.txt").write_text(text)
    (args.results / "bench.json").write_text(json.dumps({
        "arch": args.arch,
        "machine": "QEMU, TCG, -icount shift=0: one nanosecond is one instruction",
        "figures": {kernel: {key: {"value": value, "unit": unit}
                             for key, (value, unit) in some.items()}
                    for kernel, some in figures.items()},
        "table": sections,
    }, indent=1) + "\n")
    print(text, end="")
    for picture in pictures:
        print(f"  picture: {picture}")
    print(f"{table.summary(sections)}, {round(time.monotonic() - start)} s{args.mark}")
    return 0


def main():
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    args = parse()
    manifest = read_manifest()
    works = select(manifest, args.work, args.arch)
    return repeat(works, args) if args.twice else compare(manifest, works, args)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
    except machines.Failed as why:
        sys.exit(f"error: {why}")
