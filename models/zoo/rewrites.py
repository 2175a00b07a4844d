"""What happens to a graph after its export: outlined into functions, stored or run in other number formats, renamed."""

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DOMAIN = "zoo.modules"


def into_functions(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Router inside mixture inside block: each a local function, weights passed in as arguments."""
    for block in (0, 1):
        for scope, name in (
            (f"/blocks.{block}/mlp/router/", f"Router{block}"),
            (f"/blocks.{block}/mlp/", f"Mixture{block}"),
            (f"/blocks.{block}/", f"Block{block}"),
        ):
            outline(proto, scope, name)
    proto.opset_import.append(helper.make_opsetid(DOMAIN, 1))
    return proto


def outline(proto: onnx.ModelProto, scope: str, name: str) -> None:
    """Moves the nodes whose names begin with `scope` into a function, and puts a call in their place."""
    graph = proto.graph
    inside = [i for i, node in enumerate(graph.node) if node.name.startswith(scope)]
    nodes = [graph.node[i] for i in inside]
    others = [node for i, node in enumerate(graph.node) if i not in set(inside)]
    made = {value for node in nodes for value in node.output}
    used = list(dict.fromkeys(value for node in nodes for value in node.input if value and value not in made))
    wanted = {value for node in others for value in node.input} | {value.name for value in graph.output}
    given = [value for node in nodes for value in node.output if value in wanted]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)]
    proto.functions.append(helper.make_function(DOMAIN, name, used, given, nodes, opsets))
    call = helper.make_node(name, used, given, name=f"{scope}{name}", domain=DOMAIN)
    ready = {value for node in graph.node[: inside[0]] for value in node.output}
    late = [node for node in graph.node[inside[0] : inside[-1]] if not node.name.startswith(scope)]
    assert all(value in ready or value not in made for node in late for value in node.input), (
        "nodes do not lie together"
    )
    kept = [*graph.node[: inside[0]], *late, call, *graph.node[inside[-1] + 1 :]]
    del graph.node[:]
    graph.node.extend(kept)


def half_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """float16 in the file, float32 in the computation."""
    return stored_as(proto, np.float16)


def bfloat_weights(proto: onnx.ModelProto) -> onnx.ModelProto:
    """bfloat16 in the file, float32 in the computation: ONNX Runtime's processor kernels do not multiply bfloat16."""
    return stored_as(proto, ml_dtypes.bfloat16)


def stored_as(proto: onnx.ModelProto, dtype) -> onnx.ModelProto:
    """Weights in another number format, cast when they are used."""
    casts = []
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) > 0:
            name = tensor.name
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(dtype), f"{name}_half"))
            casts.append(helper.make_node("Cast", [f"{name}_half"], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.node[:]
    proto.graph.node.extend(nodes)
    return proto


def all_half(proto: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime's own converter; inputs and outputs stay float32."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    return in_order(convert_float_to_float16(proto, keep_io_types=True))


def in_order(proto: onnx.ModelProto) -> onnx.ModelProto:
    """Each node after those whose values it uses; otherwise as they were."""
    waiting, ordered = list(proto.graph.node), []
    ready = {""} | {value.name for value in [*proto.graph.input, *proto.graph.initializer]}
    while waiting:
        now = [node for node in waiting if all(value in ready for value in node.input)]
        assert now, "the graph has a circle"
        ordered += now
        ready |= {value for node in now for value in node.output}
        waiting = [node for node in waiting if not all(value in ready for value in node.output)]
    del proto.graph.node[:]
    proto.graph.node.extend(ordered)
    return proto


def quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """ONNX Runtime's dynamic quantisation: DynamicQuantizeLinear and MatMulInteger around every matrix product."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
        onnx.save(proto, source)
        quantize_dynamic(source, target, weight_type=QuantType.QInt8)
        return onnx.load(target)


def plain_names(proto: onnx.ModelProto) -> onnx.ModelProto:
    """No scopes: values are called after the operator that makes them, constants are numbered, inputs end in ":0"."""
    graph = proto.graph
    names = {tensor.name: f"const_fold_opt__{i + 100}" for i, tensor in enumerate(graph.initializer)}
    for i, node in enumerate(graph.node):
        for j, value in enumerate(node.output):
            if value not in {output.name for output in graph.output}:
                names[value] = f"StatefulPartitionedCall/model/{node.op_type}_{i}:{j}"
    for tensor in graph.initializer:
        tensor.name = names[tensor.name]
    for i, node in enumerate(graph.node):
        node.name = f"StatefulPartitionedCall/model/{node.op_type}_{i}"
        for values in (node.input, node.output):
            values[:] = [names.get(value, value) for value in values]
    del graph.value_info[:]
    proto.producer_name, proto.producer_version = "tf2onnx", "1.16.1"
    return proto
