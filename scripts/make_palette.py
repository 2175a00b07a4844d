#!/usr/bin/env python3
"""Makes the table of expert colours, src/render/palette_table.rs.

    python3 -m pip install glasbey==0.4.0
    python3 scripts/make_palette.py > src/render/palette_table.rs

Three stages, so that a model with few experts gets the colours that lie furthest apart: 8 colours, extended to 20,
extended to 64. Each stage asks glasbey for several palettes (it optimises for one kind of colour vision at a time) and
keeps the one whose closest pair is the furthest apart in the worst of normal vision, deuteranopia and protanopia.
Distances are Euclidean in CAM02-UCS.
"""

import glasbey
import numpy as np
from colorspacious import cspace_convert

STAGES = (8, 20, 64)
# Neither lost on a white nor on a black background, and never a grey, which means "no expert" on screen.
BOUNDS = [
    dict(lightness_bounds=(35, 88), chroma_bounds=(35, 90)),
    dict(lightness_bounds=(30, 90), chroma_bounds=(25, 90)),
    dict(lightness_bounds=(25, 92), chroma_bounds=(15, 90)),
]
VISIONS = (None, "deuteranomaly", "protanomaly")
# Every pair is easier to tell with normal vision, so that distance counts for less.
NORMAL_DISCOUNT = 0.7


def seen_by(rgb, vision):
    if vision is None:
        return rgb
    space = {"name": "sRGB1+CVD", "cvd_type": vision, "severity": 100}
    return np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)


def closest_pair(rgb, vision):
    ucs = cspace_convert(seen_by(rgb, vision), "sRGB1", "CAM02-UCS")
    distance = np.linalg.norm(ucs[:, None] - ucs[None], axis=-1)
    return distance[np.triu_indices(len(ucs), 1)].min()


def worst_case(rgb):
    return min(closest_pair(rgb, v) * (NORMAL_DISCOUNT if v is None else 1) for v in VISIONS)


def candidates(size, start, bounds):
    for vision in VISIONS[1:]:
        for severity in (50, 70, 85, 100):
            options = dict(bounds, colorblind_safe=True, cvd_type=vision, cvd_severity=severity, as_hex=False, grid_size=32)
            if start is None:
                made = glasbey.create_palette(size, **options)
            else:
                made = glasbey.extend_palette([tuple(c) for c in start], size, **options)
            yield np.round(np.array(made) * 255) / 255


def main():
    palette = None
    for size, bounds in zip(STAGES, BOUNDS):
        palette = max(candidates(size, palette, bounds), key=worst_case)
    print("//! Made by scripts/make_palette.py; do not edit. The closest pairs in CAM02-UCS (normal, deuteranopia, protanopia):")
    for size in STAGES:
        pairs = ", ".join(f"{closest_pair(palette[:size], v):.1f}" for v in VISIONS)
        print(f"//! {size} colours: {pairs}.")
    print(f"\n/// sRGB bytes.\npub(super) const EXPERT_COLORS: [[u8; 3]; {len(palette)}] = [")
    for color in (palette * 255).round().astype(int):
        print("    [{}, {}, {}],".format(*color))
    print("];")


main()
