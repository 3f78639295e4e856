# SPDX-License-Identifier: GPL-2.0
"""usage: tar-to-git.py MESSAGE <tarball >stream

Turn the tar archive on stdin into input for `git fast-import`: one commit with
the archive's files, less the first component of their names, tagged `base`.

Unpacking a kernel tree and `git add` would write and remove 90,000 files for
nothing. Author and date are fixed, so the same files give the same commit.
"""

import shutil
import sys
import tarfile

out = sys.stdout.buffer
message = sys.argv[1].encode()
out.write(b"commit refs/heads/pristine\n"
          b"committer base <> 0 +0000\n"
          b"data %d\n%s\n" % (len(message), message))
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|*") as archive:
    for entry in archive:
        path = entry.name.partition("/")[2].encode()
        if entry.issym():
            target = entry.linkname.encode()
            out.write(b"M 120000 inline %s\ndata %d\n%s\n" % (path, len(target), target))
        elif entry.isfile():
            mode = b"100755" if entry.mode & 0o100 else b"100644"
            out.write(b"M %s inline %s\ndata %d\n" % (mode, path, entry.size))
            shutil.copyfileobj(archive.extractfile(entry), out)
            out.write(b"\n")
        elif not entry.isdir():
            sys.exit(f"{entry.name}: neither a file nor a symbolic link")
out.write(b"\nreset refs/tags/base\nfrom refs/heads/pristine\n\ndone\n")
