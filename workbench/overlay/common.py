# SPDX-License-Identifier: GPL-2.0
"""Where things are, and what every part of this program needs."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

ROOT = Path(os.environ["ROOT"])
BUILD = Path(os.environ["BUILD"])
TREE = Path(os.environ["TREE"])


class Refused(Exception):
    """What is wrong and what to do about it, for the user."""


class Git:
    """A repository or work tree; calling it runs git there and returns the output."""

    def __init__(self, path):
        self.path = path

    def __call__(self, *args, **kwargs):
        status, out, err = self.run(*args, **kwargs)
        if status:
            raise Refused(f"git {' '.join(map(str, args))}: {err.strip()}")
        return out

    def run(self, *args, env=None, **kwargs):
        """Returns the exit status, the output and the error output."""
        done = subprocess.run(["git", "-C", self.path, *args], capture_output=True, check=False,
                              env={**os.environ, **(env or {})}, **kwargs)
        return done.returncode, decode(done.stdout), decode(done.stderr)

    def id(self, name):
        return self("rev-parse", "--verify", name).strip()


def base():
    """The repository with the kernel source, tagged `base`; see workbench/fetch."""
    return Git(Path(re.search(r"^repo=(.*)$", read(BUILD / "base"), re.MULTILINE)[1]))


# Every byte has to survive, also what is not UTF-8 and other systems' line ends.
def decode(content):
    return content.decode("utf-8", "surrogateescape")


def encode(text):
    return text.encode("utf-8", "surrogateescape")


def read(path):
    return decode(path.read_bytes())


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(text))


@contextlib.contextmanager
def scratch(name):
    """An empty directory. Whoever fails or is stopped leaves it to the next run: to
    remove a kernel tree takes longer than anybody waits after Ctrl-C."""
    path = BUILD / name
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def unstoppable():
    """No Ctrl-C between two steps of which the second must follow the first.

    Child processes inherit that signals are ignored.
    """
    before = {number: signal.signal(number, signal.SIG_IGN)
              for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
