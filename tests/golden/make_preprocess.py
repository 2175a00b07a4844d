"""Writes the golden pictures of tests/preprocess.rs with Pillow (13.0) and NumPy.

    python3 -m pip install pillow numpy
    python3 tests/golden/make_preprocess.py

`scaled-*.png` hold what Pillow makes of `pattern(width, height)` by resizing the whole image and then cropping it;
`decode-*.jpg` are JPEG files of several kinds, and the `.png` beside each is what Pillow decodes it to.
"""

from pathlib import Path

import numpy as np
from PIL import Image

FOLDER = Path(__file__).parent / "preprocess"

# name: size of the pattern, (height, width) of the model's input, shorter side or None to stretch, filter
SCALED = {
    "down": ((301, 199), (64, 64), 72, Image.BICUBIC),
    "up": ((23, 17), (64, 64), 72, Image.BICUBIC),
    "tall-bilinear": ((97, 211), (64, 64), 64, Image.BILINEAR),
    "lanczos": ((150, 101), (48, 64), 65, Image.LANCZOS),
    "wide": ((900, 7), (64, 64), 72, Image.BICUBIC),
    "narrow": ((5, 3000), (64, 64), 64, Image.BICUBIC),
    "stretch": ((120, 51), (64, 48), None, Image.BICUBIC),
    "same": ((64, 64), (64, 64), 64, Image.BICUBIC),
}

# name: size of the pattern, (height, width) of the model's input
LETTERBOXED = {
    "letterbox-wide": ((301, 199), (64, 64)),
    "letterbox-tall": ((33, 121), (64, 64)),
    "letterbox-odd": ((200, 91), (48, 80)),
    "letterbox-up": ((23, 17), (64, 96)),
    "letterbox-line": ((900, 3), (64, 64)),
}


def pattern(width: int, height: int) -> Image.Image:
    """Chirps and edges in whole numbers, the same as `pattern` of tests/preprocess.rs."""
    y, x = np.mgrid[:height, :width]
    channels = (x * x + 3 * y * y) // 16, (x ^ y) * 5, (x // 9 + y // 7) % 2 * 200 + x % 32
    return Image.fromarray((np.stack(channels, axis=-1) % 256).astype(np.uint8))


def scaled_and_cropped(image: Image.Image, height: int, width: int, size: int | None, filter: int) -> Image.Image:
    if size is None:
        return image.resize((width, height), filter)
    shorter = min(image.size)
    scaled = image.resize(tuple(max(size, round(size * side / shorter)) for side in image.size), filter)
    left, top = (scaled.width - width) // 2, (scaled.height - height) // 2
    return scaled.crop((left, top, left + width, top + height))


def letterboxed(image: Image.Image, height: int, width: int) -> Image.Image:
    """As YOLO has it: as large as fits, in the middle of grey 114; of an odd rest the smaller half is left and above."""
    scale = min(width / image.width, height / image.height)
    size = tuple(max(1, round(side * scale)) for side in image.size)
    canvas = Image.new("RGB", (width, height), (114, 114, 114))
    canvas.paste(image.resize(size, Image.BILINEAR), ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas


def smooth(width: int, height: int) -> Image.Image:
    """Colours that JPEG keeps well, so that a fault of the decoder stands out."""
    y, x = np.mgrid[:height, :width]
    channels = x * 255 / (width - 1), y * 255 / (height - 1), 127.5 + 127.5 * np.sin(x / 7) * np.cos(y / 9)
    return Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8))


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, ((width, height), (out_height, out_width), size, filter) in SCALED.items():
        golden = scaled_and_cropped(pattern(width, height), out_height, out_width, size, filter)
        golden.save(FOLDER / f"scaled-{name}.png", optimize=True)
    for name, (size, (out_height, out_width)) in LETTERBOXED.items():
        letterboxed(pattern(*size), out_height, out_width).save(FOLDER / f"scaled-{name}.png", optimize=True)
    photo = smooth(61, 43)
    black = Image.merge("CMYK", [*photo.split(), photo.split()[0].point(lambda level: level // 2)])
    kinds = {
        "420": (photo, {"subsampling": "4:2:0"}),
        "422": (photo, {"subsampling": "4:2:2"}),
        "444": (photo, {"subsampling": "4:4:4"}),
        "progressive": (photo, {"progressive": True}),
        "restart": (photo, {"restart_marker_blocks": 2}),
        "grey": (photo.convert("L"), {}),
        "cmyk": (black, {}),
        "ycck": (black, {}),
        "rgb": (photo, {"keep_rgb": True}),
    }
    for name, (image, options) in kinds.items():
        path = FOLDER / f"decode-{name}.jpg"
        image.save(path, quality=92, **options)
        if name == "ycck":  # Pillow cannot write it: the same channels, declared to be YCCK by Adobe's marker
            marker = path.read_bytes().index(b"Adobe")
            path.write_bytes(path.read_bytes()[: marker + 11] + b"\x02" + path.read_bytes()[marker + 12 :])
        Image.open(path).convert("RGB").save(path.with_suffix(".png"), optimize=True)


main()
