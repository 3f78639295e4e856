# SPDX-License-Identifier: GPL-2.0
"""From the repository to commits.

Commits depend on nothing but the repository's files and the base, so the same
series has the same ids everywhere.
"""

import re

import maintainers
from common import Refused, Git, base, encode, read, scratch, write
from patch import load, mode

# Where the last series that was built stands; also an unfinished run's.
REF = "refs/memfile/next"


def build(overlay, repo):
    """Make the series of OVERLAY in REPO, a repository that has the base.

    Returns its last commit, and what had to be applied at other lines than the
    patch says. Works on copies of the few files that hunks touch: an index of
    the whole kernel would cost a tenth of a second each time it is read or
    written.
    """
    patches = load(overlay)
    ours = {path for patch in patches for path in patch.replaces + patch.removes}
    for patch in patches:
        for path in ours.intersection(patch.edits()):
            raise Refused(f"{patch.name} edits {path}, which the series replaces or removes")

    offsets = []
    stream = [f"reset {REF}\nfrom {base().id('base')}\n\n"]
    with scratch("apply.tmp") as work:
        checkout(ours.union(*(patch.edits() + patch.merges for patch in patches)), work)
        for patch in patches:
            offsets += apply(patch, work)
            stream.append(commit(patch, overlay, work))
    repo("fast-import", "--quiet", "--force", "--done", "--date-format=rfc2822",
         input=encode("".join(stream) + "done\n"))
    return repo.id(REF), offsets


def checkout(paths, work):
    """Put the base's PATHS into the directory WORK."""
    for path in sorted(paths):
        listed = base()("ls-tree", "base", "--", path)
        if not listed:
            raise Refused(f"{path} is not in the base: new files are kept whole, not as hunks")
        write(work / path, base()("cat-file", "blob", f"base:{path}"))
        (work / path).chmod(int(listed.split()[0], 8) & 0o777)


def apply(patch, work):
    """Apply PATCH's hunks in WORK. git apply knows no fuzz: all context has to match."""
    if not patch.edits():
        return
    # The ceiling keeps git from taking WORK for a part of the repository around it.
    status, _, messages = Git(work).run("apply", "--verbose", "--whitespace=nowarn", "-",
                                        env={"GIT_CEILING_DIRECTORIES": work.parent},
                                        input=encode(patch.hunks))
    if status:
        why = re.sub(r"^Checking patch .*\n", "", messages, flags=re.MULTILINE)
        raise Refused(f"{patch.name} does not apply:\n{why.strip()}")
    for line in messages.splitlines():
        if line.startswith("Checking patch "):
            path = line.removeprefix("Checking patch ").rstrip(".")
        elif "(offset " in line:
            yield f"{patch.name}: {path}: {line}"


def commit(patch, overlay, work):
    """The commit of PATCH, in the language of git fast-import."""
    for path in patch.merges:
        write(work / path, maintainers.merge(read(work / path), read(overlay / path)))
    message = patch.message()
    out = [f"commit {REF}\n",
           f"author {patch.author} {patch.date}\n",
           f"committer {patch.author} {patch.date}\n",
           f"data {len(encode(message))}\n{message}\n"]
    out += [f"D {path}\n" for path in patch.removes]
    files = [overlay / path for path in patch.adds + patch.replaces]
    files += [work / path for path in patch.edits() + patch.merges]
    for file in files:
        path = file.relative_to(work if file.is_relative_to(work) else overlay)
        content = read(file)
        out.append(f"M {mode(file):o} inline {path}\ndata {len(encode(content))}\n{content}\n")
    return "".join(out) + "\n"
