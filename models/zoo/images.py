"""The three images that every row is recorded on: a gradient with bars and discs, so that patches differ.

8-bit values, normalised as the row says, so that the same tensor can be made again from a picture file.
"""

import numpy as np
import torch

HALF = ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5])
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
UNIT = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])


def pixels(seed: int, size: int) -> np.ndarray:
    """One RGB image, uint8 [size, size, 3]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    corners = rng.uniform(40, 215, (2, 2, 3))
    image = sum(
        np.multiply.outer((y if i else 1 - y) * (x if j else 1 - x), corners[i, j]) for i in (0, 1) for j in (0, 1)
    )
    for _ in range(5):
        cy, cx, radius = rng.uniform(0, 1, 2).tolist() + [rng.uniform(0.1, 0.3)]
        inside = (y - cy) ** 2 + (x - cx) ** 2 < radius**2 if rng.random() < 0.5 else abs(x - cx) + 0 * y < radius / 3
        image[inside] = rng.uniform(0, 255, 3)
    image += rng.normal(0, 12, image.shape)
    return image.clip(0, 255).round().astype(np.uint8)


def batch(index: int, count: int, size: int, normalisation=HALF, layout: str = "NCHW") -> torch.Tensor:
    """Input `index` (0, 1, 2) of a row: `count` images, float32 NCHW or NHWC."""
    mean, std = (np.array(value, np.float32) for value in normalisation)
    stack = np.stack([pixels(1000 * index + n, size) for n in range(count)])
    values = (stack.astype(np.float32) / 255 - mean) / std
    if layout == "NCHW":
        values = values.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(values))
