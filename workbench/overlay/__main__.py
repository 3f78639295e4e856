# SPDX-License-Identifier: GPL-2.0
"""usage: overlay tree|export|check

The way between this repository and a git tree with the series on the kernel;
design and file format are described in patch.py.

    tree     make $TREE from the repository, or bring it up to date
    export   write the commits in $TREE back to the repository
    check    see in a scratch clone that the series applies and that an export
             would write it as it stands; the clone stays in $BUILD/check
"""

import fcntl
import signal
import sys

from check import check
from common import BUILD, Refused
from export import export
from tree import make_tree


def main():
    commands = {"tree": make_tree, "export": export, "check": check}
    if len(sys.argv) != 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    # Like Ctrl-C: unwinds, and removes what is unfinished.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with (BUILD / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            commands[sys.argv[1]]()
    except Refused as why:
        sys.exit(f"error: {why}")
    except KeyboardInterrupt:
        sys.exit(130)


main()
