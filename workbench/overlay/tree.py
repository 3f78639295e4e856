# SPDX-License-Identifier: GPL-2.0
"""`make tree`: $TREE from the repository, or brought up to date with it."""

from build import REF, build
from common import ROOT, TREE, Git, Refused, base, read, scratch, unstoppable, write
from patch import state

# What the tree was made from, and which commit that gave
STATE = "memfile-state"
MADE = "refs/memfile/made"


def make_tree():
    now = state(ROOT)
    if not TREE.exists():
        clone(now)
        return
    tree = Git(TREE)
    if tree.id("base") != base().id("base"):
        raise Refused(f"{TREE} is on another base than this clone uses now: save what you need "
                      "from it, then remove it")
    work = local_work(tree)
    if made_from(tree) == now:
        print(f"{TREE} is up to date" + (f", with {work}" if work else ""))
        return
    if work:
        raise Refused(f"{TREE} has {work}, and {changed_since(tree)}")
    head, offsets = build(ROOT, tree)
    # Rewrites only the files that differ, so that kernel builds stay incremental.
    with unstoppable():
        tree("reset", "--keep", head)
        record(tree, now)
    report(tree, offsets)


def clone(now):
    """The first time: all of it in a temporary place, then one rename."""
    with scratch("tree.tmp") as top:
        tree = Git(top / "tree")
        Git(top)("clone", "-q", "--shared", "--no-checkout", base().path, tree.path)
        tree("remote", "remove", "origin")
        tree("config", "gc.auto", "0")
        tree("config", "checkout.workers", "0")
        # Kernels are built in subdirectories: with the source at `..` the compiler
        # sees the same relative paths in every clone, and ccache hits.
        write(tree.path / ".git/info/exclude", "/obj-*/\n")
        _, offsets = build(ROOT, tree)
        tree("checkout", "-q", "-B", "series", REF)
        record(tree, now)
        tree.path.rename(TREE)
    report(Git(TREE), offsets)


def report(tree, offsets):
    for line in offsets:
        print(f"note: {line}")
    if offsets:
        print("note: `make export` brings the line numbers up to date")
    print(f"{TREE}: {tree('rev-list', '--count', 'base..HEAD').strip()} patches on "
          f"{tree('log', '-1', '--format=%s', 'base').strip()}")


def made_from(tree):
    file = tree.path / ".git" / STATE
    return read(file) if file.exists() else ""


def record(tree, now):
    """Note that TREE's HEAD is what the repository in state NOW gives."""
    tree("update-ref", MADE, "HEAD")
    write(tree.path / ".git" / STATE, now)


def local_work(tree):
    """What the tree holds that is not in the repository, in words; '' if nothing."""
    if tree("status", "--porcelain", "--untracked-files=no"):
        return "uncommitted changes"
    ours = tree("for-each-ref", "--format=%(objectname)", MADE, REF).split()
    return "" if tree.id("HEAD") in ours else "commits that are not in the repository"


def changed_since(tree):
    """Says that the repository has moved on, and how work in the tree can follow."""
    made = tree.id(MADE)[:12]
    return (f"the repository has changed since the tree was made.\n"
            "Either take those changes back and `make export`. Or, in the tree, commit everything,"
            f"\n`git branch work && git reset --keep {made}`, then `make tree`, then in the tree\n"
            f"`git cherry-pick {made}..work`.")
