#!/usr/bin/env python3
"""Makes the table of expert colours, src/render/palette_table.rs.

    python3 -m pip install glasbey==0.4.0
    python3 scripts/make_palette.py > src/render/palette_table.rs

Three stages, so that a model with few experts gets the colours that lie furthest apart: 8 colours, extended to 20,
extended to 64. Each stage asks glasbey for several palettes (it optimises for one kind of colour vision at a time), takes
the two whose closest pairs are the furthest apart in the worst of normal vision, deuteranopia and protanopia, moves single
colours as long as that distance grows, and keeps the better one.

Distances are Euclidean in CAM02-UCS. Half transparent over a photo, a colour takes on the photo's lightness, so for normal
vision a difference of lightness counts for less; the colour blind have little else to go by, and for them it counts fully.
"""

from typing import NamedTuple

import glasbey
import numpy as np
from colorspacious import cspace_convert

VISIONS = (None, "deuteranomaly", "protanomaly")
POLISH_STEPS = 4000


class Stage(NamedTuple):
    size: int
    # Neither lost on a white nor on a black background, and never a grey, which means "no value" on screen.
    bounds: dict
    # What lightness counts for with normal vision. Many colours cannot do without it.
    lightness_weight: float


STAGES = (
    Stage(8, dict(lightness_bounds=(42, 84), chroma_bounds=(45, 90)), 0.3),
    Stage(20, dict(lightness_bounds=(34, 88), chroma_bounds=(30, 90)), 0.5),
    Stage(64, dict(lightness_bounds=(25, 92), chroma_bounds=(15, 90)), 0.7),
)


def seen_by(rgb, vision):
    if vision is None:
        return rgb
    space = {"name": "sRGB1+CVD", "cvd_type": vision, "severity": 100}
    return np.clip(cspace_convert(rgb, space, "sRGB1"), 0, 1)


def distances(rgb, vision, lightness_weight=1.0):
    ucs = cspace_convert(seen_by(rgb, vision), "sRGB1", "CAM02-UCS") * [lightness_weight, 1, 1]
    all_pairs = np.linalg.norm(ucs[:, None] - ucs[None], axis=-1)
    return all_pairs[np.triu_indices(len(ucs), 1)]


def score(rgb, stage):
    """The closest pair; the mean of the close ones breaks ties, so that polishing has a slope to climb."""
    worst = np.minimum.reduce([distances(rgb, v, 1.0 if v else stage.lightness_weight) for v in VISIONS])
    return worst.min() + 0.1 * np.sort(worst)[: len(rgb)].mean()


def within(color, bounds):
    lightness, chroma, _ = cspace_convert(color, "sRGB1", "JCh")
    low, high = bounds["lightness_bounds"]
    return low <= lightness <= high and bounds["chroma_bounds"][0] <= chroma


def candidates(stage, start):
    for vision in VISIONS[1:]:
        for severity in (50, 70, 85, 100):
            options = dict(stage.bounds, colorblind_safe=True, cvd_type=vision, cvd_severity=severity)
            options.update(as_hex=False, grid_size=32)
            if len(start) == 0:
                made = glasbey.create_palette(stage.size, **options)
            else:
                made = glasbey.extend_palette([tuple(c) for c in start], stage.size, **options)
            yield np.round(np.array(made) * 255) / 255


def polish(palette, num_fixed, stage, random):
    best, best_score = palette, score(palette, stage)
    for step in range(POLISH_STEPS):
        reach = 60 * (1 - step / POLISH_STEPS) + 4
        moved = best.copy()
        i = random.integers(num_fixed, len(palette))
        moved[i] = np.round(np.clip(moved[i] * 255 + random.normal(0, reach, 3), 0, 255)) / 255
        if within(moved[i], stage.bounds) and (moved_score := score(moved, stage)) > best_score:
            best, best_score = moved, moved_score
    return best


def make_palette():
    random = np.random.default_rng(0)
    palette = np.empty((0, 3))
    for stage in STAGES:
        starts = sorted(candidates(stage, palette), key=lambda c: score(c, stage))[-2:]
        polished = [polish(start, len(palette), stage, random) for start in starts]
        palette = max(polished, key=lambda c: score(c, stage))
    return palette


def main():
    palette = make_palette()
    print("//! Made by scripts/make_palette.py; do not edit. Closest pairs in CAM02-UCS (normal, deuteranopia, protanopia):")
    for stage in STAGES:
        pairs = ", ".join(f"{distances(palette[: stage.size], v).min():.1f}" for v in VISIONS)
        print(f"//! {stage.size} colours {pairs}.")
    print(f"\n/// sRGB bytes.\npub(super) const EXPERT_COLORS: [[u8; 3]; {len(palette)}] = [")
    for color in (palette * 255).round().astype(int):
        print("    [{}, {}, {}],".format(*color))
    print("];")


main()
