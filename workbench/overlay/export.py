# SPDX-License-Identifier: GPL-2.0
"""`make export`: the commits in $TREE back into the repository."""

import contextlib
import os
import re

import maintainers
from build import build
from common import ROOT, TREE, Git, Refused, read, scratch, unstoppable, write
from patch import Patch, kernel_files, load, mode, patch_files, state
from tree import changed_since, made_from, record

MARKS = ("fixup! ", "squash! ", "amend! ")


def export():
    if not TREE.exists():
        raise Refused("there is no tree to export from: `make tree` makes it")
    tree = Git(TREE)
    dirty = tree("status", "--porcelain")
    if dirty:
        raise Refused(f"{TREE} has uncommitted changes: commit them, with `git commit --fixup` if "
                      f"they belong to a patch, or `git stash -u`\n{dirty.rstrip()}")
    if state(ROOT) != made_from(tree):
        raise Refused(changed_since(tree))
    if tree.run("merge-base", "--is-ancestor", "base", "HEAD")[0]:
        raise Refused(f"HEAD of {TREE} is not on top of the tag `base`")
    merges = tree("log", "--merges", "--format=%h %s", "base..HEAD").strip()
    if merges:
        raise Refused(f"the series has to be a line of commits, without merges:\n{merges}")

    with scratch("export.tmp") as stage:
        head = autosquash(tree, stage)
        overlay = stage / "overlay"
        (overlay / "patches").mkdir(parents=True)
        unbuild(tree, head, load(ROOT), overlay)
        built, _ = build(overlay, tree)
        differs = tree("diff", "--stat", "HEAD", built)
        if differs:
            raise Refused("nothing was written: what would be exported gives another tree than "
                          f"HEAD, which is an error in the workbench\n{differs.rstrip()}")
        with unstoppable():
            swap(overlay)
            tree("update-ref", "-m", "make export", "HEAD", built)
            record(tree, state(ROOT))
    print(f"{tree('rev-list', '--count', 'base..HEAD').strip()} patches exported")


def autosquash(tree, stage):
    """HEAD with the fixups where they belong.

    In a scratch clone with almost no work tree: a rebase in the tree itself would
    touch files and so have the kernel rebuilt, and a conflict would leave it half
    done.
    """
    if not pending_fixups(tree):
        return tree.id("HEAD")
    clone = Git(stage / "rebase")
    Git(stage)("clone", "-q", "--shared", "--no-checkout", TREE, clone.path)
    clone("sparse-checkout", "set", "--no-cone", "/COPYING")
    clone("checkout", "-q", "--detach", tree.id("HEAD"))
    name, address = tree("log", "-1", "--format=%cn%n%ce").splitlines()
    status, out, err = clone.run("rebase", "-q", "-i", "--autosquash", "base",
                                 env={"GIT_SEQUENCE_EDITOR": ":", "GIT_EDITOR": ":",
                                      "GIT_COMMITTER_NAME": name, "GIT_COMMITTER_EMAIL": address})
    if status:
        raise Refused("a fixup does not apply where it belongs, and nothing has changed: run "
                      f"`git rebase -i --autosquash base` in {TREE}\n{(out + err).strip()}")
    for subject in pending_fixups(clone):
        raise Refused(f"there is no commit that `{subject}` belongs to")
    tree("fetch", "-q", clone.path, "HEAD")
    return tree.id("FETCH_HEAD")


def pending_fixups(repo):
    subjects = repo("log", "--format=%s", "base..HEAD").splitlines()
    return [subject for subject in subjects if subject.startswith(MARKS)]


def unbuild(tree, head, old, overlay):
    """Write the commits base..HEAD to OVERLAY, in the repository's form.

    Which files are new is plain to see; they have to be named all the same, by an
    OLD patch or by a line in a commit message, so that nothing gets into the series
    by an unlucky `git add`.
    """
    in_base = set(tree("ls-tree", "-r", "-z", "--name-only", "base").split("\0"))
    replaced = reserved(tree, "Replaces").union(*(patch.replaces for patch in old))
    named = reserved(tree, "Adds").union(*(patch.adds for patch in old))
    owner = {}
    number = 0
    for commit in tree("rev-list", "--reverse", f"base..{head}").split():
        patch = describe(tree, commit, number)
        number = int(patch.name[:4])
        edits = []
        for status, path in changes(tree, commit):
            if path in owner:
                raise Refused(f"{path} is touched by `{owner[path]}` and by `{patch.subject}`, but "
                              "a file of ours lands whole in one commit: make the second one a "
                              "`git commit --fixup` of the first")
            if path == "MAINTAINERS" and added_sections(tree, commit):
                patch.merges.append(path)
                write(overlay / path, added_sections(tree, commit))
            elif path in in_base and status == "D":
                patch.removes.append(path)
            elif path in in_base and path not in replaced:
                edits.append(path)
                continue
            elif path in in_base:
                patch.replaces.append(path)
                save(tree, commit, path, overlay)
            elif path in named:
                patch.adds.append(path)
                save(tree, commit, path, overlay)
            else:
                raise Refused(f"{path} is named by no commit: if it is meant to be in the series, "
                              f"add a line `Adds: {path}` to the message of `{patch.subject}`, or "
                              "to that of a fixup of it")
            owner[path] = patch.subject
        patch.hunks = diff(tree, commit, edits)
        write(overlay / "patches" / f"{patch.name}.patch", patch.format())


def reserved(tree, key):
    """The paths in lines `KEY: path` of the commit messages, those of fixups too."""
    messages = tree("log", "--format=%B", "base..HEAD")
    return set(re.findall(rf"^{key}: (\S+)$", messages, re.MULTILINE))


def describe(tree, commit, last):
    """The Patch for COMMIT, without its changes; its number is above LAST."""
    author, date, message = tree("log", "-1", "--format=%an <%ae>%n%aD%n%B", commit).split("\n", 2)
    subject, _, body = message.partition("\n\n")
    subject = " ".join(subject.split())
    patch = re.search(r"^Patch: (\d{4})-([a-z0-9-]+)$", body, re.MULTILINE)
    number = max(last + 1, int(patch[1]) if patch else 0)
    topic = patch[2] if patch else slug(subject)
    body = re.sub(r"^(Patch|Adds|Replaces): \S+\n", "", body, flags=re.MULTILINE).strip("\n")
    if re.search(r"^---$", body, re.MULTILINE):
        raise Refused(f"`{subject}`: a line `---` would end the changelog there")
    return Patch(f"{number:04}-{topic}", author, date, subject, body)


def slug(subject):
    return re.sub(r"[^a-z0-9]+", "-", subject.lower())[:50].strip("-")


def changes(tree, commit):
    """[(status, path)] of what COMMIT changes, in the order of paths."""
    fields = tree("diff-tree", "-r", "-z", "--no-renames", "--name-status", "--no-commit-id",
                  commit).split("\0")
    return sorted(zip(fields[0::2], fields[1::2]), key=lambda change: change[1])


def added_sections(tree, commit):
    return maintainers.added(tree("show", f"{commit}^:MAINTAINERS"),
                             tree("show", f"{commit}:MAINTAINERS"))


def save(tree, commit, path, overlay):
    """Write PATH as it is in COMMIT to OVERLAY."""
    write(overlay / path, tree("cat-file", "blob", f"{commit}:{path}"))
    executable = tree("ls-tree", commit, "--", path).startswith("100755")
    (overlay / path).chmod(0o755 if executable else 0o644)


def diff(tree, commit, paths):
    """What COMMIT does to PATHS, with every setting stated that shapes a diff."""
    if not paths:
        return ""
    text = tree("-c", "core.quotePath=false", "diff-tree", "-p", "--no-commit-id", "--no-renames",
                "--no-ext-diff", "--no-color", "--unified=3", "--inter-hunk-context=0",
                "--diff-algorithm=histogram", "--indent-heuristic", "--src-prefix=a/",
                "--dst-prefix=b/", commit, "--", *paths)
    # Object ids would change with every change to the series before this patch.
    return re.sub(r"^index [0-9a-f]+\.\.[0-9a-f]+.*\n", "", text, flags=re.MULTILINE)


def swap(overlay):
    """Make the repository's series that of OVERLAY; what is the same is not touched."""
    for path in sorted(series_files(ROOT) - series_files(overlay)):
        (ROOT / path).unlink()
        with contextlib.suppress(OSError):	# until a directory is not empty
            os.removedirs((ROOT / path).parent)
    for path in sorted(series_files(overlay)):
        new, old = overlay / path, ROOT / path
        if not (old.exists() and mode(old) == mode(new) and read(old) == read(new)):
            old.parent.mkdir(parents=True, exist_ok=True)
            new.replace(old)


def series_files(overlay):
    patches = {str(path.relative_to(overlay)) for path in patch_files(overlay)}
    return patches | kernel_files(overlay)
