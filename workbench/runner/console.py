# SPDX-License-Identifier: GPL-2.0
"""What the lines of a guest's console mean."""

import re

# The program under test writes to the console too, so that a line of the
# kernel's can begin anywhere in a line; its time stamp tells where.
KERNEL = re.compile(r"\[ *\d+\.\d{6}\] (.*)")
MARK = re.compile(r"workbench: (up|finished|begin \S+|end \S+ \d+)$")

# A kernel that says one of these has found a mistake, whatever the test says.
SPLAT = re.compile("|".join((
    r"WARNING:",                        # lockdep, RCU and WARN_ON() too
    r"BUG:",                            # KASAN, bad pages, soft lockups, atomic sleep
    r"kernel BUG at",
    r"cut here",
    r"Oops",
    r"Internal error",
    r"Unable to handle kernel",
    r"general protection fault",
    r"Kernel panic",
    r"hyp panic",                       # arm64 EL2
    r"UBSAN:",
    r"detected stalls?\b|self-detected stall",
    r"INFO: task .* blocked for more than",
    r"INFO: trying to register non-static key",
    r"refcount_t:",
    r"page_table_check",
    r"list_(add|del) corruption",
    r"new suspected memory leaks",      # kmemleak
)))

# Where a KVM selftest says what failed: in the line after this one.
ASSERTION = "==== Test Assertion Failure ===="

# What KUnit says of a case, as opposed to a suite, is indented.
CASE = re.compile(r"( *)(ok|not ok) \d+ (\S+)(.*)")
SUITE = re.compile(r" *# Subtest: (\S+)")


def kernel_text(line):
    """The part of a console line that the kernel wrote, without its time stamp."""
    match = KERNEL.search(line)
    return match and match.group(1)


class KUnit:
    """Follows the KTAP that KUnit writes to the kernel log, case by case."""

    def __init__(self):
        self.suite = None

    def feed(self, text):
        """(suite.case, result, reason) when this line ends a case, else None."""
        if match := SUITE.match(text):
            # A parameterised case opens a deeper level of its own.
            if len(text) - len(text.lstrip()) == 4:
                self.suite = match.group(1)
            return None
        match = CASE.match(text)
        if not match or not self.suite or len(match.group(1)) != 4:
            return None
        _, result, case, rest = match.groups()
        _, skipped, reason = rest.partition("# SKIP")
        if skipped:
            return f"{self.suite}.{case}", "skip", reason.strip()
        return f"{self.suite}.{case}", "pass" if result == "ok" else "fail", ""
