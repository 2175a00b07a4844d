"""Turns a published Swin-MoE checkpoint into an ONNX file with a model card.

    python convert_swin_moe.py NAME.pth OUT.onnx [--labels FILE] …

NAME.pth is the path of the files without ".rank0", ".rank1", …; README.md says where they are.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import torch

import card
import swin_checkpoint
import swin_moe_model

DESCRIPTION = (
    "Swin-MoE: a Swin transformer with sparse mixtures of experts (Liu et al. 2021, Hwang et al. 2023), converted."
)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def describe(name: str, model: swin_moe_model.SwinMoe, settings: swin_moe_model.Settings, labels: list[str]) -> dict:
    """The card has one patch grid: that of the first mixtures. Those of another grid are left out of it."""
    grid = model.mixtures()[0][1]
    shown = [(layer, mlp.num_experts) for layer, side, mlp in model.mixtures() if side == grid]
    rule = "softmax_then_top_k_renormalized" if settings.normalize_gate and settings.top_k > 1 else "softmax_then_top_k"
    capacity = model.mixtures()[0][2].capacity
    gating = {
        "rule": rule,
        "description": f"Softmax over all experts, the best {settings.top_k}; an expert takes at most {capacity} "
        f"tokens of {settings.group_images} image(s), those with the largest gates first; others have weight 0.",
    }
    resize = {"rule": "shorter_side", "size": 256 * settings.size // 224, "filter": "bicubic"}
    place = {"rows": grid, "cols": grid, "prefix_tokens": 0}
    return card.model_card(name, DESCRIPTION, "MIT", settings.size, resize, MEAN, STD, labels, place, gating, shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=192, help="pixels")
    parser.add_argument("--capacity-factor", type=float, default=1.25)
    parser.add_argument("--top-k", type=int, default=1)
    parser.add_argument("--normalize-gate", action="store_true", help="divide the weights by their sum")
    parser.add_argument(
        "--first-come", action="store_true", help="place tokens in their order, not by their largest gate"
    )
    parser.add_argument("--group-images", type=int, default=1, help="images of one batch, which share the capacity")
    parser.add_argument("--labels", type=Path, help="text file with one label per line")
    args = parser.parse_args()
    settings = swin_moe_model.Settings(
        args.size, args.top_k, args.capacity_factor, args.normalize_gate, not args.first_come, args.group_images
    )
    params, shared = swin_checkpoint.read(args.checkpoint)
    settings = replace(settings, alignment=shared)
    model = swin_moe_model.SwinMoe(params, settings).eval()
    del params
    text = describe(args.checkpoint.stem, model, settings, card.read_labels(args.labels))
    pixels = torch.zeros(args.group_images, 3, args.size, args.size)
    card.export_with_card(model, pixels, len(model.mixtures()), text, args.out)
    name, grid, mlp = model.mixtures()[0]
    print(
        f"{args.out}: {len(model.mixtures())} mixtures of {mlp.num_experts} experts, at most {mlp.capacity} tokens per "
        f"expert in the first ({name}, {grid} × {grid} patches)"
    )


if __name__ == "__main__":
    main()
