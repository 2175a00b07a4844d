"""From a PyTorch model to an ONNX file as its users would make it, cleaned of this machine's traces, and checked."""

import logging
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

from row import Row

BATCH = "batch"
DEBUG_ENTRIES = ("stack_trace", "fx_node", "class_hierarchy")


def export(row: Row, model: nn.Module, inputs: dict[str, Tensor]) -> onnx.ModelProto:
    """`inputs` is what tracing sees: a graph that froze a decision froze it for those."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    values = tuple(inputs.values())
    common = {"input_names": list(inputs), "output_names": row.outputs, "opset_version": row.opset}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        path = Path(folder) / "model.onnx"
        if row.exporter == "dynamo":
            common |= {"external_data": False, "verbose": False, "dynamic_shapes": dynamic_shapes(row, inputs)}
        elif row.dynamic_batch:
            common["dynamic_axes"] = {name: {0: BATCH} for name in ["pixel_values", *row.outputs]}
        torch.onnx.export(model, values, path, dynamo=row.exporter == "dynamo", **common)
        proto = onnx.load(path)
    return row.rewrite(proto) if row.rewrite else proto


def dynamic_shapes(row: Row, inputs: dict[str, Tensor]) -> tuple | None:
    """For torch.export: the image's first axis may vary."""
    if not row.dynamic_batch:
        return None
    return tuple({0: torch.export.Dim(BATCH)} if name == "pixel_values" else None for name in inputs)


def strip_traces(proto: onnx.ModelProto) -> None:
    """Removes what exporters write into each node for debugging: source paths, and the traced operator in full."""

    def clean(nodes) -> None:
        for node in nodes:
            node.ClearField("doc_string")
            kept = [entry for entry in node.metadata_props if not entry.key.endswith(DEBUG_ENTRIES)]
            del node.metadata_props[:]
            node.metadata_props.extend(kept)
            for attribute in node.attribute:
                for graph in [attribute.g, *attribute.graphs]:
                    clean(graph.node)

    clean(proto.graph.node)
    for function in proto.functions:
        clean(function.node)


def difference(proto: onnx.ModelProto, inputs: dict[str, Tensor], outputs: list[Tensor]) -> float:
    """The largest absolute difference between ONNX Runtime's outputs and PyTorch's; infinite if the graph fails."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    fed = {node.name for node in session.get_inputs()}
    try:
        got = session.run(None, {name: value.numpy() for name, value in inputs.items() if name in fed})
    except Exception as error:
        print(f"     ONNX Runtime: {str(error)[:240]}")
        return float("inf")
    assert len(got) == len(outputs), (len(got), len(outputs))
    worst = 0.0
    for ours, theirs in zip(got, outputs, strict=True):
        assert ours.shape == tuple(theirs.shape), (ours.shape, theirs.shape)
        worst = max(worst, float(np.abs(ours.astype(np.float64) - theirs.double().numpy()).max()))
    return worst
