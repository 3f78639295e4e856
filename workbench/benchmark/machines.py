# SPDX-License-Identifier: GPL-2.0
"""Boots the machines that count, and collects what they say."""

import concurrent.futures
import os
import pathlib
import subprocess
import sys
import threading
import time

WORKBENCH = pathlib.Path(__file__).resolve().parent.parent
sys.path.append(str(WORKBENCH / "runner"))

import console  # noqa: E402
from figures import parse_figures  # noqa: E402

# Of the machine's own clock, which stands still while it is idle; and of ours.
GUEST_SECONDS = 1000
SECONDS = 1500

# Memory leaves the direct map where a flag says so, and stays for comparison elsewhere.
APPEND = "memfile.private_direct_map=keep"


class Failed(Exception):
    """A work did not come to its end."""


class _Machines:
    """All that run, so that they can be stopped."""

    def __init__(self):
        self.lock = threading.Lock()
        self.processes = set()
        self.over = False

    def start(self, command, **options):
        with self.lock:
            if self.over:
                raise Failed("stopped")
            process = subprocess.Popen(command, **options)
            self.processes.add(process)
            return process

    def ended(self, process):
        with self.lock:
            self.processes.discard(process)

    def stop(self):
        with self.lock:
            self.over = True
            for process in self.processes:
                process.kill()


def _read(process, log):
    """What a machine says, with a copy in a file; what the kernel complains of."""
    lines, splat = [], None
    with open(log, "w") as out:
        for line in process.stdout:
            lines.append(line.rstrip("\r\n"))
            print(lines[-1], file=out)
            text = console.kernel_text(lines[-1]) or ""
            if console.SPLAT.search(text):
                splat = splat or text
    return lines, splat


def _came_to_its_end(lines):
    marks = [console.MARK.match(console.kernel_text(line) or "") for line in lines]
    return [mark[1] for mark in marks if mark] == ["up", "begin bench", "end bench 0", "finished"]


def _boot(machines, work, options, name, tree, args):
    directory = args.results / "bench"
    plan = directory / f"{work}-{name}.plan"
    log = plan.with_suffix(".log")
    initramfs = "initramfs-guest.cpio" if options.get("guest") else "initramfs.cpio"
    # Not a word of which kernel it is: what the machines read is the same.
    plan.write_text(f"run_test bench {GUEST_SECONDS} 'memfile-bench {work}'\n")
    start = time.monotonic()
    process = machines.start([WORKBENCH / "boot", args.arch, "lean", tree],
                             env=dict(os.environ, ICOUNT="1", PLAN=str(plan),
                                      INITRD=str(args.initramfs / initramfs),
                                      SMP=str(options.get("smp", 1)),
                                      APPEND=f"{APPEND} {options.get('append', '')}",
                                      CPU=options.get("cpu", "")),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, text=True, errors="replace")
    limit = threading.Timer(SECONDS, process.kill)
    limit.start()
    try:
        lines, splat = _read(process, log)
    finally:
        limit.cancel()
        process.kill()
        process.wait()
        machines.ended(process)
    if splat:
        raise Failed(f"{splat}: see {log}")
    if not _came_to_its_end(lines):
        raise Failed(f"{work} did not come to its end, see {log}")
    seconds = round(time.monotonic() - start)
    print(f"  {work} ({name}): done in {seconds // 60}:{seconds % 60:02}", flush=True)
    return name, parse_figures(lines)


def run(works, trees, args):
    """Do the works on each kernel: {name: {figure: (value, unit)}}."""
    (args.results / "bench").mkdir(parents=True, exist_ok=True)
    machines = _Machines()
    # The longest first, so that none runs alone in the end.
    jobs = sorted(((work, name, tree) for work in works for name, tree in trees.items()),
                  key=lambda job: -works[job[0]].get("minutes", {}).get(job[1], 0))
    result = {name: {} for name in trees}
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        try:
            futures = [pool.submit(_boot, machines, work, works[work], name, tree, args)
                       for work, name, tree in jobs]
            for future in concurrent.futures.as_completed(futures):
                name, figures = future.result()
                result[name].update(figures)
        except BaseException:
            machines.stop()
            pool.shutdown(cancel_futures=True)
            raise
    return result
