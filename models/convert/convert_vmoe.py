"""Turns a published V-MoE checkpoint into an ONNX file with a model card.

    python convert_vmoe.py PREFIX OUT.onnx [--capacity-factor F] [--labels FILE] …

PREFIX is the path without ".index" and ".data-…". README.md says where the checkpoints are and which capacity factor
each was evaluated with.
"""

import argparse
from pathlib import Path

import torch

import card
import flax_checkpoint
import vmoe_model

DESCRIPTION = (
    "V-MoE: a vision transformer with sparse mixtures of experts (Riquelme et al. 2021), converted from its checkpoint."
)


def parameters(tree: dict) -> dict:
    """The model's parameters, wherever in a training state they stand."""
    for branch in (tree, tree.get("params", {}), tree.get("target", {})):
        if "Encoder" in branch and "head" in branch:
            return branch
    raise SystemExit("this checkpoint has no classification head or no Encoder; found: " + ", ".join(tree))


def describe(
    name: str, model: vmoe_model.VisionTransformerMoe, settings: vmoe_model.Settings, size: int, labels: list[str]
) -> dict:
    """Models of 224 pixels were evaluated on the middle of 256, larger ones on the whole image stretched."""
    side = size // model.embed.kernel_size[0]
    resize = {"rule": "shorter_side", "size": 256} if size == 224 else {"rule": "stretch", "size": size}
    layers = [
        (f"block {i}", block.mlp.num_experts)
        for i, block in enumerate(model.blocks)
        if isinstance(block.mlp, vmoe_model.SparseMlp)
    ]
    capacity = model.mixtures()[0].capacity
    gating = {
        "rule": "softmax_then_top_k",
        "description": f"Softmax over all experts, the best {settings.top_k} with their probabilities; an expert "
        f"takes at most {capacity} tokens of {settings.group_images} image(s), others have weight 0.",
    }
    return card.model_card(
        name,
        DESCRIPTION,
        "Apache-2.0",
        size,
        resize | {"filter": "bilinear"},
        [0.5] * 3,
        [0.5] * 3,
        labels,
        {"rows": side, "cols": side, "prefix_tokens": 1},
        gating,
        layers,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--capacity-factor", type=float, default=1.05)
    parser.add_argument("--top-k", type=int, default=2)
    parser.add_argument("--group-images", type=int, default=1, help="images of one batch that share the capacity")
    parser.add_argument("--batch-priority", action="store_true", help="place tokens by their largest gate")
    parser.add_argument(
        "--float32", action="store_true", help="do not round to bfloat16 what experts receive and return"
    )
    parser.add_argument("--labels", type=Path, help="text file with one label per line")
    args = parser.parse_args()
    settings = vmoe_model.Settings(
        args.top_k, args.capacity_factor, args.group_images, args.batch_priority, not args.float32
    )
    model = vmoe_model.from_flax(parameters(flax_checkpoint.read(args.prefix)), settings)
    patch = model.embed.kernel_size[0]
    size = round((model.positions.shape[1] - 1) ** 0.5) * patch
    text = describe(args.prefix.name, model, settings, size, card.read_labels(args.labels))
    pixels = torch.zeros(settings.group_images, 3, size, size)
    card.export_with_card(model, pixels, len(model.mixtures()), text, args.out)
    mixture = model.mixtures()[0]
    print(
        f"{args.out}: {size} × {size} pixels, {len(model.mixtures())} mixtures of {mixture.num_experts} experts, "
        f"at most {mixture.capacity} tokens per expert"
    )


if __name__ == "__main__":
    main()
