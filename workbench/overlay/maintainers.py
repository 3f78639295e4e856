# SPDX-License-Identifier: GPL-2.0
"""Sections of the kernel's MAINTAINERS file: a title and the lines below it."""

import re

START = re.compile(r"^(?![A-Z]:\t)(?=\S[^\n]*\n[A-Z]:\t)", re.MULTILINE)


def split(text):
    """What stands before the first section, and the sections."""
    # The preamble explains the format with examples that look like sections.
    start = START.search(text, max(text.find("\nMaintainers List\n"), 0)).start()
    return text[:start], [section for section in START.split(text[start:]) if section]


def title(section):
    return section.partition("\n")[0].upper()


def merge(text, ours):
    """Put the sections of OURS into TEXT, each before the first one that sorts after it."""
    before, merged = split(text)
    for section in split(ours)[1]:
        place = next(i for i, other in enumerate(merged)
                     if title(other) > title(section) or title(other) == "THE REST")
        merged.insert(place, section.rstrip("\n") + "\n\n")
    return before + "".join(merged)


def added(old, new):
    """The sections that NEW has and OLD has not; '' if that is not the whole difference."""
    known = set(split(old)[1])
    ours = "\n".join(section.rstrip("\n") + "\n" for section in split(new)[1]
                     if section not in known)
    return ours if ours and merge(old, ours) == new else ""
