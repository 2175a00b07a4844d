"""Images: how a photo becomes the model's input, the fixed split of the photos, and the random crops of training.

The data folder holds `photos/` (one photo a class, `WNID_name.JPEG`), `train/WNID/*.JPEG` (Tiny ImageNet, 64×64) and
`imagenet_classes.txt` (WNID, tab, name; in class order).
"""

import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 224
RESIZE = 256
MEAN = [127 / 255] * 3
STD = [128 / 255] * 3


def class_list(data: Path) -> tuple[list[str], list[str]]:
    """WNIDs and names of the 1,000 classes, in class order."""
    rows = [line.split("\t", 1) for line in (data / "imagenet_classes.txt").read_text().splitlines() if line]
    return [row[0] for row in rows], [row[1].strip() for row in rows]


def split_photos(data: Path) -> dict[str, list[Path]]:
    """Every 5th photo by sorted name is `held_out`; every 8th of the others is `selection`; the rest is `train`."""
    photos = sorted((data / "photos").iterdir(), key=lambda path: path.name)
    held_out = photos[4::5]
    others = [path for path in photos if path not in set(held_out)]
    selection = others[7::8]
    return {
        "held_out": held_out,
        "selection": selection,
        "train": [path for path in others if path not in set(selection)],
    }


def center_crop(image: Image.Image) -> np.ndarray:
    """The model's view of a photo: bicubic (Pillow, antialiased) to a shorter side of 256, centre crop of 224."""
    width, height = image.size
    short = min(width, height)
    size = (round(RESIZE * width / short), round(RESIZE * height / short))
    left, top = (size[0] - SIZE) // 2, (size[1] - SIZE) // 2
    resized = image.convert("RGB").resize(size, Image.BICUBIC)
    return np.asarray(resized.crop((left, top, left + SIZE, top + SIZE)))


def normalise(pixels: np.ndarray) -> torch.Tensor:
    """uint8 [B, 224, 224, 3] → float32 [B, 3, 224, 224], (byte / 255 − mean) / std."""
    x = torch.from_numpy(np.ascontiguousarray(pixels)).permute(0, 3, 1, 2).float() / 255
    mean, std = torch.tensor(MEAN)[:, None, None], torch.tensor(STD)[:, None, None]
    return (x - mean) / std


def load_photos(paths: list[Path], wnids: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """Input tensors and class indices of photos."""
    crops = np.stack([center_crop(Image.open(path)) for path in paths])
    labels = torch.tensor([wnids.index(path.name.split("_")[0]) for path in paths])
    return normalise(crops), labels


class CropMaker:
    """Endless random training crops: parts of photos, enlarged Tiny ImageNet images, and mosaics of them."""

    def __init__(self, data: Path, seed: int):
        self.rng = random.Random(seed)
        self.photos = [Image.open(path).convert("RGB") for path in split_photos(data)["train"]]
        self.tiny = sorted((data / "train").glob("*/*.JPEG"))

    def batch(self, count: int) -> np.ndarray:
        """uint8 [count, 224, 224, 3]."""
        return np.stack([np.asarray(self._one()) for _ in range(count)])

    def _one(self) -> Image.Image:
        kind = self.rng.random()
        if kind < 0.45:
            image = self._photo_part(SIZE, 0.2)
        elif kind < 0.6:
            image = self._tiny_part(SIZE, 0.6)
        elif kind < 0.85:
            image = self._mosaic(2)
        else:
            image = self._mosaic(3)
        return image

    def _photo_part(self, side: int, smallest: float) -> Image.Image:
        return self._part(self.rng.choice(self.photos), side, smallest)

    def _tiny_part(self, side: int, smallest: float) -> Image.Image:
        return self._part(Image.open(self.rng.choice(self.tiny)).convert("RGB"), side, smallest)

    def _part(self, image: Image.Image, side: int, smallest: float) -> Image.Image:
        """A random rectangle of at least `smallest` of the area, resized to a square, flipped half of the time."""
        width, height = image.size
        area = self.rng.uniform(smallest, 1.0) * width * height
        aspect = self.rng.uniform(0.75, 1.33)
        w, h = min(width, (area * aspect) ** 0.5), min(height, (area / aspect) ** 0.5)
        left, top = self.rng.uniform(0, width - w), self.rng.uniform(0, height - h)
        part = image.resize((side, side), Image.BICUBIC, box=(left, top, left + w, top + h))
        return part.transpose(Image.FLIP_LEFT_RIGHT) if self.rng.random() < 0.5 else part

    def _mosaic(self, count: int) -> Image.Image:
        """count × count small pictures; one in three is a photo."""
        side = -(-SIZE // count)
        canvas = Image.new("RGB", (SIZE, SIZE))
        for row in range(count):
            for col in range(count):
                make = self._photo_part if self.rng.random() < 0.33 else self._tiny_part
                canvas.paste(make(side, 0.5), (col * side, row * side))
        return canvas
