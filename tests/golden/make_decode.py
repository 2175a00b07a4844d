"""Makes tests/golden/decode/: one small file of each kind that the program opens, and what Pillow sees in it. (Kinds of
JPEG are in tests/golden/preprocess/.)

    pip install pillow==13.0.0 numpy==2.4.6
    python3 tests/golden/make_decode.py

FILE is the image, FILE.rgba.png what it must decode to: upright, the first frame, 8-bit RGBA with straight alpha.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, ImageSequence

FOLDER = Path(__file__).resolve().parent / "decode"
WIDTH, HEIGHT = 21, 14


def picture(turn=0):
    """RGBA: slopes that a JPEG keeps, and an alpha of many levels."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    channels = [40 + 9 * x, 230 - 11 * y, 60 + 3 * x + 2 * y, 255 - 10 * x]
    return Image.fromarray(np.stack(channels[turn:3] + channels[:turn] + channels[3:], axis=-1).astype(np.uint8))


def sixteen_bits():
    """Grey, all 16 bits in use."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return (x * 3001 + y * 337).astype(np.uint16)


def files():
    """Name, image, and how Pillow saves it."""
    rgba, rgb = picture(), picture().convert("RGB")
    others = [picture(1), picture(2)]
    turned = Image.Exif()
    turned[0x0112] = 6
    yield "narrow.jpg", rgb.crop((0, 0, 5, HEIGHT)), {"quality": 95}
    yield "turned.jpg", rgb, {"quality": 95, "subsampling": 0, "exif": turned}
    yield "alpha.png", rgba, {}
    yield "grey_alpha.png", rgba.convert("LA"), {}
    yield "one_bit.png", rgb.convert("1"), {}
    yield "palette.png", rgb.quantize(16), {"transparency": 3}
    yield "grey16.png", Image.fromarray(sixteen_bits()), {}
    yield "animated.png", rgba, {"save_all": True, "append_images": others}
    yield "animated.gif", rgb.quantize(8), {"save_all": True, "append_images": [other.quantize(8) for other in others]}
    yield "transparent.gif", rgb.quantize(16), {"transparency": 3}
    yield "alpha.webp", rgba, {"lossless": True, "exact": True}
    yield "animated.webp", rgba, {"save_all": True, "append_images": others, "lossless": True, "exact": True}
    yield "rgb.bmp", rgb, {}
    yield "palette.bmp", rgb.quantize(16), {}
    yield "alpha.tif", rgba, {"compression": "tiff_adobe_deflate"}
    yield "grey16.tif", Image.fromarray(sixteen_bits()), {"compression": "tiff_lzw"}
    yield "rgb.ppm", rgb, {}
    yield "alpha.tga", rgba, {"compression": "tga_rle"}


def expected(path):
    image = ImageOps.exif_transpose(next(ImageSequence.Iterator(Image.open(path))))
    if image.mode.startswith("I;16"):
        # Pillow clips 16 bits instead of scaling them: 65535 is to be 255.
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    return image.convert("RGBA")


def main():
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, image, options in files():
        image.save(FOLDER / name, **options)
        expected(FOLDER / name).save(FOLDER / f"{name}.rgba.png", optimize=True)
    print(f"{sum(path.stat().st_size for path in FOLDER.iterdir()) / 1000:.0f} kB in {FOLDER.name}")


if __name__ == "__main__":
    main()
