# SPDX-License-Identifier: GPL-2.0
"""Pictures of what grows with something."""

import subprocess

# To be told apart without colour: by dashes and by points, open or filled.
STYLES = {
    "unpatched": ("2", ("4", "6", "8")),
    "ours": ("1", ("5", "7", "9")),
}


def _points(figures, name):
    return sorted((int(key.split("@")[1]), value) for key, (value, _) in figures.items()
                  if key.split("@")[0] == name)


def _plots(curve, figures, directory):
    plots = []
    for kernel, (dash, shapes) in STYLES.items():
        for shape, (name, label) in zip(shapes, curve["series"].items()):
            points = _points(figures[kernel], name)
            if not points:
                continue
            data = directory / f"{name}-{kernel}.dat"
            data.write_text("".join(f"{x} {y:.1f}\n" for x, y in points))
            title = f"{label}, {kernel}" if label else kernel
            plots.append(f"'{data}' with linespoints linecolor rgb 'black' dashtype {dash} "
                         f"pointtype {shape} pointsize 0.8 title '{title}'")
    return plots


def _script(curve, plots, terminal, output):
    lines = [
        f"set terminal {terminal}",
        f"set output '{output}'",
        f"set title '{curve['title']}'",
        f"set xlabel '{curve['x']}'",
        f"set ylabel '{curve['y']}'",
        "set key outside below",
        "set grid linecolor rgb 'gray'",
        f"set logscale x {curve.get('base', 10)}",
    ]
    if curve.get("logscale", True):
        lines.append("set logscale y")
    else:
        lines.append("set yrange [0:*]")
    lines.append("set format x " + ("'%.0b%BB'" if curve["x"] == "bytes" else "'%.0s%c'"))
    lines += ["set format y '%.0s%c'", "set rmargin 6", "plot " + ", ".join(plots)]
    return "\n".join(lines) + "\n"


def draw(manifest, works, figures, directory):
    """Draw the curves of the works; where the pictures are."""
    pictures = []
    for curve in manifest.get("curve", []):
        if curve["id"].split(".")[0] not in works:
            continue
        plots = _plots(curve, figures, directory)
        if not plots:
            continue
        for terminal, suffix in (("svg size 800,560 font 'sans,14' background 'white'", "svg"),
                                 ("pngcairo size 800,560 font 'sans,11'", "png")):
            picture = directory / f"{curve['id']}.{suffix}"
            subprocess.run(["gnuplot"], input=_script(curve, plots, terminal, picture),
                           text=True, check=True)
            pictures.append(picture)
    return pictures
