# SPDX-License-Identifier: GPL-2.0
"""Which machines there are and which tests run in them.

boots.toml names the machines:

    [x86_64-numa]
    arch = "x86_64"
    append = "numa=fake=2"      # to the kernel's command line
    cpu = "cortex-a72"          # a model other than what workbench/boot takes
    emulator = 10               # the least version of QEMU that will do
    smp = 2
    thread = "multi"            # how QEMU runs the CPUs: each its own, or "single"
    memory = "4G"
    up = 60                     # seconds until /init must run

groups/*.toml name the tests, by groups that share a budget:

    [kvm]
    boots = ["x86_64"]          # the machines that the group runs in, or "host"
    needs = "mm/memfile"        # a path without which the tree has no such tests
    budget = 200                # seconds for the whole group
    setup = "..."               # run before the group's first test in each boot
    kunit = true                # each test must make KUnit report cases
    [kvm.tests]
    guest_memfd_test = 20       # seconds; runs the program of that name
    conversions_2 = [40, "private_mem_conversions_test -n 2 -m 2"]

On the host a test runs in the kernel tree, and writes to the directory $OUT.
"""

import dataclasses
import fnmatch
import tomllib


@dataclasses.dataclass(frozen=True)
class Boot:
    name: str
    arch: str
    append: str = ""
    cpu: str = ""
    emulator: int = 0
    smp: int = 2
    thread: str = "multi"
    memory: str = "4G"
    up: int = 60


@dataclasses.dataclass
class Test:
    name: str
    limit: int
    command: str
    group: "Group"


@dataclasses.dataclass
class Group:
    boot: Boot
    name: str
    budget: int
    setup: str
    kunit: bool
    tests: list
    used: float = 0.0


HOST = Boot("host", "host")


def _read(path):
    with open(path, "rb") as file:
        return tomllib.load(file)


def _group(boot, name, entry):
    group = Group(boot, f"{boot.name}.{name}", entry["budget"],
                  entry.get("setup", ""), entry.get("kunit", False), [])
    for test, what in entry["tests"].items():
        limit, command = what if isinstance(what, list) else (what, test)
        group.tests.append(Test(f"{group.name}.{test}", limit, command, group))
    return group


def load(directory, tree, archs, patterns):
    """The groups to run, those of one machine next to each other.

    A pattern is matched against a group's name with and without its machine;
    no pattern selects everything.
    """
    boots = {name: Boot(name, **entry)
             for name, entry in _read(directory / "boots.toml").items()}
    boots["host"] = HOST

    groups = []
    for path in sorted(directory.glob("groups/*.toml")):
        for name, entry in _read(path).items():
            if "needs" in entry and not (tree / entry["needs"]).exists():
                continue
            for boot in (boots[b] for b in entry["boots"]):
                group = _group(boot, name, entry)
                if boot is not HOST and boot.arch not in archs:
                    continue
                if patterns and not any(fnmatch.fnmatch(n, p) for p in patterns
                                        for n in (name, group.name)):
                    continue
                groups.append(group)
    order = ["host", *boots]
    return sorted(groups, key=lambda group: order.index(group.boot.name))
