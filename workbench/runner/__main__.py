# SPDX-License-Identifier: GPL-2.0
"""Runs the tests and judges them; called by workbench/test, soak and baseline."""

import argparse
import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

import manifest
from machine import Machine
from report import Report, read_results

WORKBENCH = pathlib.Path(__file__).resolve().parent.parent


class Context:
    """What all machines of a run share."""

    def __init__(self, args):
        self.tree = args.tree
        self.config = args.config
        self.results = args.results
        self.scale = args.scale
        self.environment = dict(pair.split("=", 1) for pair in args.env)
        self.deadline = time.monotonic() + args.deadline

    def deadline_over(self):
        return time.monotonic() >= self.deadline

    def limit(self, test):
        return test.limit * self.scale

    def budget(self, group):
        return group.budget * self.scale

    @staticmethod
    def has_emulator(boot):
        return subprocess.run([WORKBENCH / "emulator", boot.arch, str(boot.emulator)],
                              stdout=subprocess.DEVNULL, check=False).returncode == 0

    def start_boot(self, boot, plan):
        environment = dict(os.environ, SMP=str(boot.smp), THREAD=boot.thread,
                           MEMORY=boot.memory, APPEND=boot.append, CPU=boot.cpu,
                           EMULATOR=str(boot.emulator), PLAN=str(plan))
        return subprocess.Popen([WORKBENCH / "boot", boot.arch, self.config, self.tree],
                                env=environment, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run_on_host(groups, context, report):
    directory = context.results / manifest.HOST.name
    directory.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ, OUT=str(directory), **context.environment)
    for test in (test for group in groups for test in group.tests):
        start = time.monotonic()
        log = directory / f"{test.name.removeprefix('host.')}.log"
        with open(log, "w") as out:
            process = subprocess.Popen(["timeout", "-k", "5", str(context.limit(test)),
                                        "sh", "-c", test.command],
                                       cwd=context.tree, env=environment,
                                       stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            try:
                status = process.wait()
            finally:
                process.terminate()
        seconds = time.monotonic() - start
        test.group.used += seconds
        report.add(test.name, "fail" if status else "pass", seconds,
                   f"exit status {status}" if status else "", log=log)


def parse():
    parser = argparse.ArgumentParser(prog="runner")
    parser.add_argument("--config", required=True, help="of the kernels: checked or soak")
    parser.add_argument("--arch", type=str.split, required=True, help="one or more")
    parser.add_argument("--group", type=str.split, help="patterns; none selects all")
    parser.add_argument("--base", type=pathlib.Path, nargs="+", default=[],
                        help="results of the unpatched kernel")
    parser.add_argument("--deadline", type=int, default=24 * 3600, help="seconds for all of it")
    parser.add_argument("--scale", type=int, default=1, help="times all limits are longer")
    parser.add_argument("--env", action="append", default=[], help="NAME=VALUE for the tests")
    parser.add_argument("--mark", default="", help="to end the last line with")
    parser.add_argument("tree", type=pathlib.Path)
    parser.add_argument("results", type=pathlib.Path)
    return parser.parse_args()


def main():
    # A signal must not skip what ends the emulator.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    args = parse()
    context = Context(args)
    groups = manifest.load(WORKBENCH, args.tree, args.arch, args.group)
    if not groups:
        sys.exit("error: no group is selected")

    report = Report(args.results, read_results(args.base))
    for boot, some in itertools.groupby(groups, key=lambda group: group.boot):
        if boot is manifest.HOST:
            run_on_host(list(some), context, report)
        else:
            Machine(boot, context, report).run(list(some))
    report.budgets(groups)
    return report.close(args.mark)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
