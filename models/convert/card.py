"""Writes the ONNX file with the model card that travels in it; the card's fields are described in ../README.md."""

import json
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

PROTOBUF_LIMIT = 1_900_000_000


def router_names(layer: int) -> list[str]:
    """The graph outputs that carry one layer's routing."""
    return [f"moe.{layer}.{part}" for part in ("gate_probs", "expert_ids", "combine_weights")]


def model_card(
    name: str,
    description: str,
    license: str,
    size: int,
    resize: dict,
    mean: list,
    std: list,
    labels: list[str],
    grid: dict,
    gating: dict,
    layers: list[tuple[str, int]],
) -> dict:
    """`layers` has a name and a number of experts for each mixture, in order."""
    parts = ("gate_probs", "expert_ids", "combine_weights")
    return {
        "schema": "moescope-card/1",
        "name": name,
        "description": description,
        "license": license,
        "input": {
            "name": "pixel_values",
            "layout": "NCHW",
            "height": size,
            "width": size,
            "resize": resize,
            "crop": "none" if resize["rule"] == "stretch" else "center",
            "mean": mean,
            "std": std,
        },
        "logits": "logits",
        "labels": labels,
        "grid": grid,
        "gating": gating,
        "layers": [
            {"name": layer, "num_experts": experts} | dict(zip(parts, router_names(i), strict=True))
            for i, (layer, experts) in enumerate(layers)
        ],
    }


def export_with_card(model: torch.nn.Module, pixels: torch.Tensor, mixtures: int, card: dict, path: Path) -> None:
    """Writes PATH; weights of 2 GB and more go to PATH.data beside it, as protobuf asks for."""
    names = [name for i in range(mixtures) for name in router_names(i)]
    with tempfile.TemporaryDirectory(dir=path.parent) as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        exported = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (pixels,),
            exported,
            dynamo=False,
            opset_version=17,
            input_names=["pixel_values"],
            output_names=["logits", *names],
        )
        proto = onnx.load(exported)
    entry = proto.metadata_props.add()
    entry.key, entry.value = "moescope.card", json.dumps(card, ensure_ascii=False)
    weights = sum(len(tensor.raw_data) for tensor in proto.graph.initializer)
    onnx.save(proto, path, save_as_external_data=weights > PROTOBUF_LIMIT, location=f"{path.name}.data")
    onnx.checker.check_model(path)


def read_labels(path: Path | None) -> list[str]:
    """One label per line, in the order of the logits."""
    return [] if path is None else path.read_text(encoding="utf-8").splitlines()
