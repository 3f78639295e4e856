# SPDX-License-Identifier: GPL-2.0
"""Tests of this program, with a base of a few files. Run it with python3."""

import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

HERE = Path(__file__).parent
IDENTITY = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "A U Thor"), ("EMAIL", "author@example.com"))}
ENVIRONMENT = {**os.environ, **IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull,
               "GIT_CONFIG_NOSYSTEM": "1", "GIT_EDITOR": ":", "GIT_SEQUENCE_EDITOR": ":"}

BASE = {
    "COPYING": "GPL-2.0\n",
    "MAINTAINERS": "How to read this\n\nMaintainers List\n----------------\n\n"
                   "ALPHA\nM:\ta@example.com\nF:\talpha/\n\n"
                   "OMEGA\nM:\to@example.com\nF:\tomega/\n\n"
                   "THE REST\nM:\tr@example.com\nF:\t*\n",
    "mm/Makefile": "".join(f"obj-y += {name}.o\n" for name in "abcdefghijklmnopqrst"),
    "mm/gup.c": "int gup;\n",
    "virt/guest.c": "int old;\n",
}

HEADER = "From: A U Thor <author@example.com>\nDate: Sat, 21 Nov 2026 10:00:00 +0000\n"

SERIES = {
    "MAINTAINERS": "MEMORY FILES\nM:\tm@example.com\nF:\tmm/memfile/\n",
    "mm/memfile/core.c": "int core;\n",
    "mm/memfile/tool.sh": "#!/bin/sh\n",
    "virt/guest.c": "int new;\n",
    "patches/0001-core.patch":
        f"{HEADER}Subject: mm: add core\nAdds: mm/memfile/core.c\nAdds: mm/memfile/tool.sh\n"
        "Merges: MAINTAINERS\n\nThe core.\n\nSigned-off-by: A U Thor <author@example.com>\n---\n",
    "patches/0002-compile.patch":
        f"{HEADER}Subject: mm: compile core\n\nIt is there.\n\n"
        "Signed-off-by: A U Thor <author@example.com>\n---\n"
        "diff --git a/mm/Makefile b/mm/Makefile\n--- a/mm/Makefile\n+++ b/mm/Makefile\n"
        "@@ -1,4 +1,5 @@\n obj-y += a.o\n+obj-y += memfile/\n"
        " obj-y += b.o\n obj-y += c.o\n obj-y += d.o\n",
    "patches/0005-guest.patch":
        f"{HEADER}Subject: virt: new guest\nReplaces: virt/guest.c\nRemoves: mm/gup.c\n\n"
        "Written anew.\n\nSigned-off-by: A U Thor <author@example.com>\n---\n",
}


def write(top, files):
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(content)


class Overlay(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        top = Path(scratch.name)
        self.root, self.source, self.tree = top / "root", top / "source", top / "root/build/tree"
        write(self.source, BASE)
        self.git("init", "-q", where=self.source)
        self.git("add", ".", where=self.source)
        self.git("commit", "-q", "-m", "Linux 0", where=self.source)
        self.git("tag", "base", where=self.source)
        write(self.root, {**SERIES, ".gitignore": "/build/\n", "README.md": "not in the tree\n",
                          "build/base": f"repo={self.source / '.git'}\n"})
        (self.root / "mm/memfile/tool.sh").chmod(0o755)

    def git(self, *args, where=None):
        done = subprocess.run(["git", "-C", where or self.tree, *args], env=ENVIRONMENT,
                              check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def command(self, name):
        env = {**ENVIRONMENT, "ROOT": str(self.root), "BUILD": str(self.root / "build"),
               "TREE": str(self.tree)}
        return [sys.executable, HERE, name], env

    def run_it(self, name):
        argv, env = self.command(name)
        return subprocess.run(argv, env=env, capture_output=True, text=True, check=False)

    def works(self, name):
        done = self.run_it(name)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refuses(self, name, why):
        """It has to say WHY, and to change neither the repository nor the tree."""
        before = self.overlay(), self.tree.exists() and self.git("rev-parse", "HEAD")
        done = self.run_it(name)
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn(why, done.stderr)
        after = self.overlay(), self.tree.exists() and self.git("rev-parse", "HEAD")
        self.assertEqual(before, after)

    def overlay(self):
        """All files of the repository that are not in build/."""
        paths = [path for path in self.root.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.root)): (path.read_text(), path.stat().st_mode)
                for path in paths if "build" not in path.relative_to(self.root).parts}

    def commit(self, message, files, *options):
        write(self.tree, files)
        self.git("add", "--all")
        self.git("commit", "-q", "-m", message, *options)

    def patch_commit(self, name):
        return self.git("log", "--format=%h", "--grep", f"^Patch: {name}$")

    # --- make tree ---

    def test_tree_holds_the_series(self):
        self.works("tree")
        self.assertEqual((self.tree / "virt/guest.c").read_text(), "int new;\n")
        self.assertFalse((self.tree / "mm/gup.c").exists())
        self.assertFalse((self.tree / "README.md").exists())
        self.assertTrue(os.access(self.tree / "mm/memfile/tool.sh", os.X_OK))
        self.assertEqual((self.tree / "mm/Makefile").read_text().splitlines()[1],
                         "obj-y += memfile/")
        titles = [line for line in (self.tree / "MAINTAINERS").read_text().splitlines()
                  if line.isupper() and "\t" not in line]
        self.assertEqual(titles, ["ALPHA", "MEMORY FILES", "OMEGA", "THE REST"])
        self.assertEqual(self.git("log", "--format=%(trailers:key=Patch,valueonly,separator=)",
                                  "--reverse", "base..").splitlines(),
                         ["0001-core", "0002-compile", "0005-guest"])
        self.assertEqual(self.git("status", "--porcelain"), "")

    def test_empty_series_is_the_base(self):
        for path in SERIES:
            (self.root / path).unlink()
        self.works("tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), self.git("rev-parse", "base"))
        self.works("export")

    def test_same_series_same_commits(self):
        self.works("tree")
        first = self.git("rev-parse", "HEAD")
        subprocess.run(["rm", "-r", self.tree], check=True)
        self.works("tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), first)

    def test_only_what_differs_is_written(self):
        self.works("tree")
        stamps = {path: path.stat().st_mtime_ns for path in self.tree.rglob("*.[ch]")}
        write(self.root, {"mm/memfile/core.c": "int more;\n"})
        self.works("tree")
        changed = [path.name for path, stamp in stamps.items() if path.stat().st_mtime_ns != stamp]
        self.assertEqual(changed, ["core.c"])

    def test_tree_keeps_local_work(self):
        self.works("tree")
        write(self.tree, {"mm/memfile/core.c": "int mine;\n"})
        self.assertIn("uncommitted changes", self.works("tree"))
        write(self.root, {"mm/memfile/core.c": "int theirs;\n"})
        self.refuses("tree", "has uncommitted changes")
        self.git("commit", "-q", "-a", "-m", "mine")
        self.refuses("tree", "has commits that are not in the repository")
        self.assertEqual((self.tree / "mm/memfile/core.c").read_text(), "int mine;\n")

    def test_context_must_match(self):
        hunks = SERIES["patches/0002-compile.patch"]
        write(self.root, {"patches/0002-compile.patch": hunks.replace("= c.o", "= x.o")})
        self.refuses("tree", "0002-compile does not apply")

    def test_offset_is_accepted_but_not_in_order(self):
        hunks = SERIES["patches/0002-compile.patch"]
        write(self.root, {"patches/0002-compile.patch": hunks.replace("-1,4 +1,5", "-2,4 +2,5")})
        self.refuses("check", "not as `make export` writes it")
        self.assertIn("offset", self.works("tree"))
        self.works("export")
        self.assertEqual(self.overlay()["patches/0002-compile.patch"][0], hunks)
        self.works("check")

    def test_names_and_files_must_match(self):
        write(self.root, {"mm/stray.c": ""})
        self.refuses("tree", "named by no patch: add a line `Adds: PATH`")
        (self.root / "mm/stray.c").unlink()
        (self.root / "mm/memfile/core.c").unlink()
        self.refuses("tree", "mm/memfile/core.c does not exist")

    def test_hunks_for_files_of_ours(self):
        for path in ("mm/memfile/core.c", "virt/guest.c"):
            write(self.root, {"patches/0006-edit.patch":
                              f"{HEADER}Subject: edit\n\nx\n---\ndiff --git a/{path} b/{path}\n"})
            self.refuses("tree", path)

    # --- make export ---

    def test_round_trip(self):
        before = self.overlay()
        self.works("tree")
        self.works("export")
        self.assertEqual(self.overlay(), before)
        self.works("check")

    def test_fixups_and_new_commits(self):
        self.works("tree")
        core = self.patch_commit("0001-core")
        self.commit("mm: new thing\n\nAdds: mm/memfile/new.c\n\nBecause.\n\n"
                    "Signed-off-by: A U Thor <author@example.com>",
                    {"mm/memfile/new.c": "int new;\n", "mm/Makefile": BASE["mm/Makefile"]
                     .replace("b.o", "memfile/\nobj-y += b.o") + "obj-y += last.o\n"})
        self.commit("Adds: mm/memfile/part.c", {"mm/memfile/core.c": "int fixed;\n",
                    "mm/memfile/part.c": "int part;\n"}, "--fixup", core)
        tree = self.git("rev-parse", "HEAD^{tree}")
        stamp = (self.tree / "mm/Makefile").stat().st_mtime_ns
        self.git("status")
        self.works("export")
        files = self.overlay()
        self.assertEqual(files["mm/memfile/core.c"][0], "int fixed;\n")
        self.assertIn("Adds: mm/memfile/part.c\n", files["patches/0001-core.patch"][0])
        new = files["patches/0006-mm-new-thing.patch"][0]
        self.assertIn("\nAdds: mm/memfile/new.c\n\nBecause.\n\nSigned-off-by", new)
        self.assertIn("+obj-y += last.o\n", new)
        self.assertNotIn("memfile/\n", new.partition("---")[2].replace(" obj-y += memfile/\n", ""))
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), tree)
        self.assertEqual((self.tree / "mm/Makefile").stat().st_mtime_ns, stamp)
        self.assertIn("up to date\n", self.works("tree"))
        self.works("check")

    def test_removals_follow(self):
        self.works("tree")
        core = self.patch_commit("0001-core")
        (self.tree / "mm/memfile/tool.sh").unlink()
        self.git("checkout", "-q", "base", "--", "MAINTAINERS")
        self.commit("less", {}, "--fixup", core)
        self.git("rebase", "-q", "--onto", "HEAD~2", "HEAD~1")	# drops 0005-guest
        self.works("export")
        self.assertEqual(sorted(self.overlay()),
                         [".gitignore", "README.md", "mm/memfile/core.c",
                          "patches/0001-core.patch", "patches/0002-compile.patch"])

    def test_insertion_renumbers(self):
        self.works("tree")
        self.git("checkout", "-q", self.patch_commit("0001-core"))
        self.commit("mm: between", {"COPYING": "GPL-2.0-only\n"})
        self.git("rebase", "-q", "HEAD", "series")
        self.works("export")
        self.assertEqual([name for name in sorted(self.overlay()) if name.startswith("patches")],
                         ["patches/0001-core.patch", "patches/0002-mm-between.patch",
                          "patches/0003-compile.patch", "patches/0005-guest.patch"])

    def test_export_refuses(self):
        self.refuses("export", "make tree")
        self.works("tree")
        made = self.git("rev-parse", "HEAD")

        write(self.tree, {"mm/untracked.c": ""})
        self.refuses("export", "uncommitted changes")
        self.git("add", ".")
        self.git("commit", "-q", "-m", "mm: unnamed")
        self.refuses("export", "mm/untracked.c is named by no commit")
        self.git("reset", "-q", "--hard", made)

        self.commit("mm: second", {"mm/memfile/core.c": "int second;\n"})
        self.refuses("export", "touched by `mm: add core` and by `mm: second`")
        self.git("reset", "-q", "--hard", made)

        self.git("merge", "-q", "--no-ff", "-m", "a merge", self.git(
            "commit-tree", "-p", "base", "-m", "side", "base^{tree}"))
        self.refuses("export", "without merges")
        self.git("reset", "-q", "--hard", made)

        self.commit("fixup! nothing like that", {"mm/Makefile": "\n"})
        self.refuses("export", "there is no commit that")
        self.git("reset", "-q", "--hard", made)

        self.commit("mm: changes a line", {"COPYING": "one\n"})
        self.commit("mm: changes it again", {"COPYING": "two\n"})
        self.commit("x", {"COPYING": "three\n"}, "--fixup", "HEAD~1")
        self.refuses("export", "does not apply where it belongs")
        self.assertEqual((self.tree / "COPYING").read_text(), "three\n")
        self.git("reset", "-q", "--hard", made)

        write(self.root, {"mm/memfile/core.c": "int elsewhere;\n"})
        self.refuses("export", "the repository has changed since")

    # --- interruption ---

    def test_stopped_at_any_point(self):
        """Killed after a growing time, then run to the end: it has to come out right."""
        self.works("tree")
        expected = self.git("rev-parse", "HEAD")
        changes = ({"mm/memfile/core.c": "int other;\n"}, SERIES)
        for delay in range(6):
            write(self.root, changes[delay % 2])
            self.stopped("tree", delay / 12)
            self.works("tree")
        self.assertEqual(self.git("rev-parse", "HEAD"), expected)
        for delay in range(6):
            self.commit("more", {"mm/memfile/core.c": f"int v{delay};\n"}, "--fixup",
                        self.patch_commit("0001-core"))
            self.stopped("export", delay / 6)
            if self.git("log", "--format=%s", "-1").startswith("fixup!"):
                self.works("export")
            self.assertEqual(self.overlay()["mm/memfile/core.c"][0], f"int v{delay};\n")
        self.works("check")

    def stopped(self, name, delay):
        argv, env = self.command(name)
        with subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, start_new_session=True) as child:
            time.sleep(delay)
            # What Ctrl-C does: a signal for the whole group.
            os.killpg(child.pid, 2)


if __name__ == "__main__":
    unittest.main(failfast=True)
