# SPDX-License-Identifier: GPL-2.0
"""The repository's form of the series.

One file patches/NNNN-topic.patch is one commit:

    From: author
    Date: the author's date
    Subject: one line
    Adds: path          a new file, kept whole in this repository at that path
    Replaces: path      the same, in place of a file of the base
    Removes: path       a file of the base that goes
    Merges: MAINTAINERS the sections in this repository's MAINTAINERS are put
                        into the kernel's, in their sorted place

    changelog and trailers
    ---
    hunks for files of the base
"""

import hashlib
import re
import stat
from dataclasses import dataclass, field

from common import BUILD, Git, Refused, base, encode, read

# What in this repository is no path in the kernel tree
OWN = {".ci", ".gitignore", "MAINTAINERS", "Makefile", "README.md", "base", "config", "man",
       "patches", "workbench"}

# Header lines with a path, any number of each, and the attribute that holds them
KEYS = {"Adds": "adds", "Replaces": "replaces", "Removes": "removes", "Merges": "merges"}


@dataclass
class Patch:
    name: str
    author: str
    date: str
    subject: str
    body: str
    hunks: str = ""
    adds: list = field(default_factory=list)
    replaces: list = field(default_factory=list)
    removes: list = field(default_factory=list)
    merges: list = field(default_factory=list)

    @classmethod
    def parse(cls, name, text):
        message, cut, hunks = text.partition("\n---\n")
        head, _, body = message.partition("\n\n")
        fields = {"From": [], "Date": [], "Subject": [], **{key: [] for key in KEYS}}
        for line in head.splitlines():
            key, _, value = line.partition(": ")
            if key not in fields or not value:
                raise Refused(f"patches/{name}.patch: not a header line: {line}")
            fields[key].append(value)
        if not cut or any(len(fields[key]) != 1 for key in ("From", "Date", "Subject")):
            raise Refused(f"patches/{name}.patch: it needs one From:, one Date: and one Subject: "
                          "line, and a line `---` after the changelog")
        return cls(name, fields["From"][0], fields["Date"][0], fields["Subject"][0],
                   body.strip("\n"), hunks,
                   **{attribute: fields[key] for key, attribute in KEYS.items()})

    def format(self):
        head = [f"From: {self.author}", f"Date: {self.date}", f"Subject: {self.subject}"]
        for key, attribute in KEYS.items():
            head += [f"{key}: {path}" for path in getattr(self, attribute)]
        return "\n".join(head) + f"\n\n{self.body}\n---\n{self.hunks}"

    def message(self):
        """The commit message: its last line says which patch the commit comes from."""
        last = self.body.rpartition("\n\n")[2]
        trailers = last and all(re.match(r"[A-Za-z-]+: ", line) for line in last.splitlines())
        gap = "\n" if trailers else "\n\n"
        return f"{self.subject}\n\n{self.body}{gap}Patch: {self.name}\n"

    def edits(self):
        """The paths that the hunks are for."""
        return re.findall(r"^diff --git a/(\S+) b/\1$", self.hunks, re.MULTILINE)


def load(overlay):
    """The patches of the repository at OVERLAY; every file of it is named exactly once."""
    patches = []
    for path in patch_files(overlay):
        if not re.fullmatch(r"\d{4}-[a-z0-9-]+", path.stem):
            raise Refused(f"patches/{path.name}: the name has to be NNNN-topic.patch")
        patches.append(Patch.parse(path.stem, read(path)))

    named = {}
    for patch in patches:
        for path in patch.adds + patch.replaces + patch.merges:
            if path in named:
                raise Refused(f"{path} is named by {named[path]} and by {patch.name}")
            named[path] = patch.name
    present = kernel_files(overlay)
    strays = sorted(present - set(named))
    if strays:
        raise Refused("these files are named by no patch: add a line `Adds: PATH` for each to the "
                      "patch that it belongs to, or remove them\n  " + "\n  ".join(strays))
    for path in sorted(set(named) - present):
        raise Refused(f"{path} does not exist, but {named[path]} names it")
    return patches


def patch_files(overlay):
    return sorted((overlay / "patches").glob("*.patch"))


def kernel_files(overlay):
    """The files of the repository at OVERLAY that go into the kernel tree.

    git lists them, so that .gitignore counts; but with the base's repository and
    no index, so that it does not matter what is committed in this one.
    """
    listed = Git(overlay)("--git-dir", base().path, "--work-tree", overlay, "ls-files", "--others",
                          "--exclude-standard", "-z", env={"GIT_INDEX_FILE": BUILD / "no-index"})
    return {path for path in listed.split("\0")
            if path == "MAINTAINERS" or path and path.partition("/")[0] not in OWN}


def state(overlay):
    """A hash over all that a tree is made from."""
    digest = hashlib.sha256(encode(base().id("base")))
    for path in patch_files(overlay) + [overlay / path for path in sorted(kernel_files(overlay))]:
        content = path.read_bytes()
        digest.update(encode(f"{path.relative_to(overlay)} {mode(path):o} {len(content)}\n"))
        digest.update(content)
    return digest.hexdigest()


def mode(path):
    """The mode that git gives PATH, a plain file."""
    bits = path.lstat().st_mode
    if not stat.S_ISREG(bits):
        raise Refused(f"{path} is not a plain file")
    return 0o100755 if bits & 0o100 else 0o100644
