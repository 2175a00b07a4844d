"""Draws assets/icon/icon-256.png and icon-64.png: an image of 4x4 patches, each in its expert's colour.

Needs Pillow. Run from the repository's root: python3 scripts/make_icon.py
"""

from pathlib import Path

from PIL import Image, ImageDraw

# The first experts' colours of the heatmap (src/render/palette_table.rs), on the dark theme's ground.
EXPERTS = [(33, 99, 255), (214, 49, 0), (255, 66, 173), (255, 197, 0), (25, 230, 255), (49, 197, 115)]
GROUND = (24, 26, 32)
# Which expert has each patch: neighbours share one, as they do in a trained model.
PATCHES = ["0044", "0144", "3115", "3325"]
# The combine weight of each patch, in percent.
WEIGHTS = [(92, 74, 80, 96), (70, 96, 100, 84), (84, 100, 90, 72), (100, 88, 98, 86)]

# Drawn four times larger and made smaller, for smooth corners.
SIDE = 1024
MARGIN, PATCH, GAP = 128, 180, 16


def draw() -> Image.Image:
    icon = Image.new("RGBA", (SIDE, SIDE), (0, 0, 0, 0))
    pen = ImageDraw.Draw(icon)
    pen.rounded_rectangle((16, 16, SIDE - 17, SIDE - 17), radius=208, fill=GROUND)
    for row, experts in enumerate(PATCHES):
        for col, expert in enumerate(experts):
            weight = WEIGHTS[row][col] / 100
            color = tuple(round(g + (c - g) * weight) for g, c in zip(GROUND, EXPERTS[int(expert)]))
            x, y = MARGIN + col * (PATCH + GAP), MARGIN + row * (PATCH + GAP)
            pen.rounded_rectangle((x, y, x + PATCH - 1, y + PATCH - 1), radius=28, fill=color)
    return icon


def main() -> None:
    folder = Path("assets/icon")
    folder.mkdir(parents=True, exist_ok=True)
    icon = draw()
    for side in (256, 64):
        icon.resize((side, side), Image.Resampling.LANCZOS).save(folder / f"icon-{side}.png", optimize=True)


if __name__ == "__main__":
    main()
