"""Makes tests/golden/default/: what the Python onnxruntime gives for the bundled model on bundled samples.

    pip install onnxruntime==1.31.1 pillow numpy
    python3 tests/golden/make_golden.py

Run it again when models/default/ changes. For each sample NAME it writes
    NAME.png                the model's input pixels after resize and crop by Pillow, RGB, so that the comparison does
                            not hang on the resizing
    NAME.logits.npy         float32 [settings, classes], one row for each top-k in golden.json
    NAME.gates.npy          float32 [layers, patches, experts], at the default top-k
    NAME.experts.kK.npy     uint8   [layers, patches, K]
    NAME.weights.kK.npy     float32 [layers, patches, K]
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/default/moescope-default.onnx"
SAMPLES = ["cat.jpg", "pagoda.jpg", "rocket.jpg"]
GOLDEN = Path(__file__).resolve().parent / "default"
FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def pixels(path, card):
    """The model's input as 8-bit RGB [height, width, 3]."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    resize, height, width = card["resize"], card["height"], card["width"]
    if resize["rule"] == "stretch":
        size = (width, height)
    else:
        scale = resize["size"] / min(image.size)
        size = tuple(round(side * scale) for side in image.size)
    image = image.resize(size, FILTERS[resize["filter"]])
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return np.asarray(image.crop((left, top, left + width, top + height)))


def tensor(rgb, card):
    """In float64 and rounded once, so that any other program gets the same bits."""
    values = (rgb / 255.0 - np.float32(card["mean"]).astype(np.float64)) / np.float32(card["std"]).astype(np.float64)
    values = values.transpose(2, 0, 1) if card["layout"] == "NCHW" else values
    return values.astype(np.float32)[None]


def main():
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(MODEL, options, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["moescope.card"])
    top_k, grid, layers = card["top_k"], card["grid"], card["layers"]
    patches = slice(grid["prefix_tokens"], None)
    settings = sorted({top_k["min"], top_k["default"], 4, top_k["max"]})
    GOLDEN.mkdir(exist_ok=True)
    for old in [*GOLDEN.glob("*.npy"), *GOLDEN.glob("*.png")]:
        old.unlink()
    for sample in SAMPLES:
        name = Path(sample).stem
        rgb = pixels(ROOT / "assets/samples" / sample, card["input"])
        Image.fromarray(rgb).save(GOLDEN / f"{name}.png", optimize=True)
        logits = []
        for k in settings:
            inputs = {card["input"]["name"]: tensor(rgb, card["input"]), top_k["input"]: np.int64([k])}
            outputs = session.run(None, inputs)
            run = {output.name: value for output, value in zip(session.get_outputs(), outputs)}
            stack = lambda field: np.stack([run[layer[field]][patches] for layer in layers])
            logits.append(run[card["logits"]][0])
            np.save(GOLDEN / f"{name}.experts.k{k}.npy", stack("expert_ids").astype(np.uint8))
            np.save(GOLDEN / f"{name}.weights.k{k}.npy", stack("combine_weights"))
            if k == top_k["default"]:
                np.save(GOLDEN / f"{name}.gates.npy", stack("gate_probs"))
        np.save(GOLDEN / f"{name}.logits.npy", np.stack(logits))
    golden = {
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
        "onnxruntime": onnxruntime.__version__,
        "samples": SAMPLES,
        "top_k": settings,
        "default_top_k": top_k["default"],
    }
    (GOLDEN / "golden.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{sum(path.stat().st_size for path in GOLDEN.iterdir()) / 1000:.0f} kB in {GOLDEN.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
