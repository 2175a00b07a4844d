"""Writes windows.json, the golden orders of tests/patch_grid.rs, with NumPy.

    python3 -m pip install numpy
    python3 tests/golden/make_windows.py

Each case: rows and columns of the grid, of a window, of the shift, and the patch (row-major) of every token after
`window_partition(np.roll(patches, (-shift_rows, -shift_cols), (0, 1)))`, as Swin Transformer's code has it.
"""

import json
from pathlib import Path

import numpy as np

CASES = [
    ((4, 4), (2, 2), (0, 0)),
    ((4, 4), (2, 2), (1, 1)),
    ((8, 8), (4, 4), (2, 2)),
    ((6, 8), (3, 4), (1, 2)),
    ((6, 8), (2, 8), (0, 3)),
    ((7, 7), (7, 7), (3, 3)),
    ((14, 14), (7, 7), (3, 3)),
    ((2, 6), (1, 2), (1, 5)),
    ((3, 5), (1, 1), (0, 0)),
]


def window_partition(x: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """As in microsoft/Swin-Transformer: [H, W] to windows of rows x cols, one after the other."""
    high, wide = x.shape
    x = x.reshape(high // rows, rows, wide // cols, cols)
    return x.transpose(0, 2, 1, 3).reshape(-1)


def main() -> None:
    cases = []
    for grid, window, shift in CASES:
        patches = np.arange(grid[0] * grid[1]).reshape(grid)
        tokens = window_partition(np.roll(patches, (-shift[0], -shift[1]), (0, 1)), *window)
        cases.append({"grid": grid, "window": window, "shift": shift, "patches": tokens.tolist()})
    Path(__file__).with_name("windows.json").write_text(
        "[\n" + ",\n".join(json.dumps(case) for case in cases) + "\n]\n"
    )


main()
