# SPDX-License-Identifier: GPL-2.0
"""The table: what was counted beside what it should be."""

WIDTH = 62


def _target(row, figures):
    """(what it should be at most, how that is said), or None."""
    if "target" in row:
        return row["target"], f"<= {_number(row['target'])}"
    if "factor" not in row:
        return None
    of = row.get("of")
    base = figures["ours" if of else "unpatched"].get(of or row["id"])
    if not base:
        return None
    return base[0] * row["factor"], f"<= {row['factor']}x" + (f" of {of}" if of else "")


def _row(row, figures):
    unpatched, ours = (figures[kernel].get(row["id"]) for kernel in ("unpatched", "ours"))
    target = _target(row, figures)
    result = {
        "id": row["id"],
        "title": row["title"],
        "unit": (ours or unpatched or (None, ""))[1],
        "unpatched": unpatched and unpatched[0],
        "ours": ours and ours[0],
        "ratio": ours[0] / unpatched[0] if ours and unpatched and unpatched[0] else None,
        "target": target and target[1],
        "met": ours[0] <= target[0] if ours and target else None,
    }
    return result


def judge(manifest, works, figures):
    """The sections of the table, as far as they belong to the works."""
    sections = []
    for section in manifest["section"]:
        rows = [_row(row, figures) for row in section["rows"]
                if row["id"].split(".")[0] in works]
        if rows:
            sections.append({"title": section["title"], "rows": rows})
    return sections


def _number(value):
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.1f}"


def _line(row):
    ratio = f"{row['ratio']:.3f}" if row["ratio"] is not None else "-"
    met = {None: "", True: "met", False: "MISSED"}[row["met"]]
    return (f"  {row['title']:{WIDTH}} {_number(row['unpatched']):>15} "
            f"{_number(row['ours']):>11} {ratio:>7}  {row['unit']:10} "
            f"{row['target'] or '':26} {met}").rstrip()


def text(sections, note):
    lines = [f"  {'':{WIDTH}} {'unpatched':>15} {'ours':>11} {'ratio':>7}  "
             f"{'unit':10} {'target':26}".rstrip()]
    for section in sections:
        lines += ["", section["title"], *map(_line, section["rows"])]
    lines += ["", *note]
    return "\n".join(lines) + "\n"


def summary(sections):
    judged = [row["met"] for section in sections for row in section["rows"]
              if row["met"] is not None]
    return f"{sum(judged)} of {len(judged)} targets met"
