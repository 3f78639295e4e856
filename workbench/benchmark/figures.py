# SPDX-License-Identifier: GPL-2.0
"""What there is to report (bench.toml), and what memfile-bench says."""

import pathlib
import re
import sys
import tomllib

MANIFEST = pathlib.Path(__file__).resolve().parent.parent / "bench.toml"
FIGURE = re.compile(r"BENCH (\S+) (\S+) (\S+)$")


def parse_figures(lines):
    """{name: (value, unit)} of the lines that are figures."""
    matches = (FIGURE.match(line) for line in lines)
    return {match[1]: (float(match[2]), match[3]) for match in matches if match}


def read_manifest():
    with open(MANIFEST, "rb") as file:
        return tomllib.load(file)


def select(manifest, names, arch):
    """The works of these names, or all that there are on ARCH, with what they are there."""
    works = {name: {**work, **work.get(arch, {})} for name, work in manifest["work"].items()
             if work.get("arch", arch) == arch}
    unknown = sorted(set(names or []) - set(works))
    if unknown:
        sys.exit(f"error: no such work: {' '.join(unknown)}; there is {' '.join(works)}")
    return {name: work for name, work in works.items() if not names or name in names}
