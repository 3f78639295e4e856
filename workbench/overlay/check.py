# SPDX-License-Identifier: GPL-2.0
"""Part of `make quick`: is the series in order?"""

import re
import shutil

from build import build
from common import BUILD, ROOT, Git, Refused, base, read, scratch, write
from export import unbuild
from patch import load, patch_files


def check():
    """Leaves the series as the branch `series` of the repository $BUILD/check."""
    repo = Git(BUILD / "check")
    shutil.rmtree(repo.path, ignore_errors=True)
    Git(BUILD)("clone", "-q", "--shared", "--no-checkout", base().path, repo.path)
    # A diff names the function that a hunk is in, if it knows the language.
    attributes = repo.run("cat-file", "blob", "base:.gitattributes")[1]
    write(repo.path / ".git/info/attributes", attributes)
    head, _ = build(ROOT, repo)
    repo("update-ref", "refs/heads/series", head)
    repo("symbolic-ref", "HEAD", "refs/heads/series")

    # On another base than the pinned one, line numbers may differ.
    if re.search(r"^unpinned=.", read(BUILD / "base"), re.MULTILINE):
        return
    with scratch("export.tmp") as overlay:
        unbuild(repo, head, load(ROOT), overlay)
        for path in patch_files(ROOT):
            if read(path) != read(overlay / "patches" / path.name):
                raise Refused(f"patches/{path.name} is not as `make export` writes it: run `make "
                              "tree` and `make export`")
