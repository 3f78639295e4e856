# SPDX-License-Identifier: GPL-2.0
"""Runs tests in an emulated machine, as many boots as that takes."""

import os
import selectors
import shlex
import subprocess
import time

import console

# The guest kills a test that overruns; this much later the guest itself is dead.
GRACE = 20
# From the end of the last test until the emulator is gone.
POWEROFF = 60


class Machine:
    def __init__(self, boot, context, report):
        self.boot = boot
        self.context = context
        self.report = report
        self.directory = context.results / boot.name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.boots = 0

    def run(self, groups):
        """Run all tests of the groups; after a boot's end, the rest in a new one."""
        pending = [test for group in groups for test in group.tests]
        if not self.context.has_emulator(self.boot):
            return self.give_up(pending, f"needs QEMU {self.boot.emulator} or later", "skip")
        while pending:
            if self.context.deadline_over():
                return self.give_up(pending, "the run's time was over")
            self.boots += 1
            name = "boot" if self.boots == 1 else f"boot-{self.boots}"
            up = _Boot(self, pending, f"{self.boot.name}.{name}").run()
            if not up:
                return self.give_up(pending, "the machine did not come up")

    def give_up(self, pending, reason, result="fail"):
        for test in pending:
            self.report.add(test.name, result, 0, f"not run: {reason}")

    def plan(self, tests):
        lines = [f"export {name}={shlex.quote(value)}"
                 for name, value in self.context.environment.items()]
        group = None
        for test in tests:
            if test.group is not group and test.group.setup:
                lines.append(f"{{ {test.group.setup}; }}")
            group = test.group
            limit = self.context.limit(test)
            lines.append(f"run_test {test.name} {limit} {shlex.quote(test.command)}")
        return "\n".join(lines) + "\n"


class _Boot:
    """One boot: takes the tests it has finished, or died of, off the pending list."""

    def __init__(self, machine, pending, name):
        self.machine = machine
        self.pending = pending
        self.name = name
        self.start = time.monotonic()
        self.limit = self.start + machine.boot.up * machine.context.scale
        self.up = False
        self.done = False
        self.test = None        # the one that runs
        self.since = self.start
        self.log = None
        self.splat = None       # the first one since the last result
        self.where = ""         # the assertion that failed
        self.last = ""
        self.kunit = console.KUnit()
        self.cases = 0
        self.overran = None     # what the watchdog killed the boot for

    def run(self):
        context = self.machine.context
        name = self.machine.directory / self.name.removeprefix(self.machine.boot.name + ".")
        plan = name.with_suffix(".plan")
        plan.write_text(self.machine.plan(self.pending))
        with open(name.with_suffix(".log"), "w") as out:
            process = context.start_boot(self.machine.boot, plan)
            try:
                self.follow(process, out)
            finally:
                process.kill()
                process.wait()
        self.finish()
        return self.up

    def follow(self, process, out):
        """Read the console until the machine is off, or has used up its time."""
        selector = selectors.DefaultSelector()
        selector.register(process.stdout, selectors.EVENT_READ)
        rest = b""
        while True:
            left = min(self.limit, self.machine.context.deadline) - time.monotonic()
            if left <= 0:
                self.overran = self.what_overran()
                return
            if not selector.select(left):
                continue
            data = os.read(process.stdout.fileno(), 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                line = line.decode(errors="replace").replace("\r", "")
                print(line, file=out, flush=True)
                self.line(line)

    def line(self, line):
        text = console.kernel_text(line)
        mark = text is not None and console.MARK.match(text)
        if mark:
            self.mark(*mark.group(1).split())
            return
        if self.log:
            print(line, file=self.log)
        if self.last == console.ASSERTION:
            self.where = self.where or line.strip()
        self.last = line
        if text is None:
            return
        if not self.splat and console.SPLAT.search(text):
            self.splat = text.strip()
        if self.test and (case := self.kunit.feed(text)):
            self.cases += 1
            name, result, reason = case
            self.report_add(f"{self.test.group.name}.{name}", result, 0, reason)

    def mark(self, kind, name=None, status=None):
        if kind == "up":
            self.up = True
            self.report_add(self.name, "pass", time.monotonic() - self.start, splat=self.take_splat())
            self.limit = time.monotonic() + GRACE
        elif kind == "begin":
            self.begin(name)
        elif kind == "end":
            self.end({0: "pass", 4: "skip"}.get(int(status), "fail"),
                     {0: "", 4: "by its own account",
                      137: f"killed after {self.machine.context.limit(self.test)}s"}
                     .get(int(status), f"exit status {status}"))
        else:
            self.done = True
            self.limit = time.monotonic() + POWEROFF

    def begin(self, name):
        context = self.machine.context
        self.test = self.pending[0]
        if self.test.name != name:
            raise RuntimeError(f"{name} runs in place of {self.test.name}")
        self.since = time.monotonic()
        group = self.test.group
        self.limit = self.since + min(context.limit(self.test) + GRACE,
                                      context.budget(group) - group.used)
        path = self.machine.directory / f"{name.removeprefix(self.machine.boot.name + '.')}.log"
        self.log = open(path, "w")

    def end(self, result, reason):
        seconds = time.monotonic() - self.since
        if result == "pass" and self.test.group.kunit and not self.cases:
            result, reason = "fail", "KUnit reported no case"
        self.pending.pop(0)
        self.test.group.used += seconds
        self.report_add(self.test.name, result, seconds, reason, self.take_splat(),
                        self.where, self.log.name)
        self.log.close()
        self.test = self.log = None
        self.where = ""
        self.cases = 0
        # The next test begins at once; behind the last one is the scan for leaks.
        self.limit = time.monotonic() + GRACE * self.machine.context.scale

    def what_overran(self):
        if time.monotonic() >= self.machine.context.deadline:
            return "the run's time was over"
        if not self.up:
            return f"no /init after {self.machine.boot.up * self.machine.context.scale}s"
        if self.done:
            return f"no power-off after {POWEROFF}s"
        if not self.test:
            return f"no next test after {GRACE * self.machine.context.scale}s"
        group = self.test.group
        if group.used + time.monotonic() - self.since >= self.machine.context.budget(group):
            return f"group {group.name} overran its {self.machine.context.budget(group)}s"
        return "the machine hangs"

    def finish(self):
        """Account for how the boot ended."""
        overran = self.overran
        splat = self.take_splat()
        if self.test:
            test = self.test
            self.splat = splat
            self.end("fail", overran or "the machine died")
            if overran and overran.startswith("group"):
                for other in [t for t in self.pending if t.group is test.group]:
                    self.pending.remove(other)
                    self.report_add(other.name, "fail", 0, f"not run: {overran}")
        elif not self.up:
            self.report_add(self.name, "fail", time.monotonic() - self.start,
                            overran or "the machine died", splat)
        elif not self.done:
            # Died between two tests: do not try the same again and again.
            test = self.pending.pop(0)
            self.report_add(test.name, "fail", 0, overran or "the machine died before it", splat)
        elif overran or splat:
            self.report_add(f"{self.name}-end", "fail", 0, overran or "", splat)

    def report_add(self, *args, **kwargs):
        self.machine.report.add(*args, **kwargs)

    def take_splat(self):
        splat, self.splat = self.splat, None
        return splat
