"""The ONNX graph of the student, written node by node with standard operators (opset 21).

Dispatch is sparse: one NonZero of an [E, T] matrix lists the chosen (expert, token) pairs grouped by expert; the
tokens are gathered once, split by run-time counts, and each expert runs on its own piece (also an empty one). The
matrix holds the slot (token, rank) of each pair, so the results go back with one ScatterND whose indices are all
different, and the k results of a token are then summed with their weights. (A ScatterND that adds would need no
slots, but ONNX Runtime 1.31 runs it on several threads without guarding equal indices: results get lost.)
"""

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

from backbone import GRID, NUM_CLASSES, Block
from moe import MoeProjection
from network import Student

OPSET = 21
IR_VERSION = 10


class GraphWriter:
    """Collects nodes and initializers; every method that adds nodes returns the name of its result."""

    def __init__(self):
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def const(self, name: str, value) -> str:
        """Adds an initializer once; tensors and lists of integers alike."""
        if name not in self.initializers:
            if isinstance(value, torch.Tensor):
                value = value.detach().contiguous().numpy()
            self.initializers[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def ints(self, *values: int) -> str:
        """A 1-D int64 initializer, shared by value."""
        return self.const("ints." + "_".join(map(str, values)), np.array(values, np.int64))

    def op(self, kind: str, inputs: list[str], outputs: str | list[str], **attributes) -> str:
        outputs = [outputs] if isinstance(outputs, str) else outputs
        self.nodes.append(helper.make_node(kind, inputs, outputs, name=outputs[0], **attributes))
        return outputs[0]

    def relu6(self, x: str, name: str) -> str:
        low = self.const("relu6.low", np.float32(0))
        high = self.const("relu6.high", np.float32(6))
        return self.op("Clip", [x, low, high], name)

    def conv(self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor, **attributes) -> str:
        names = [self.const(f"{name}.weight", weight), self.const(f"{name}.bias", bias)]
        return self.op("Conv", [x, *names], name, kernel_shape=list(weight.shape[2:]), **attributes)

    def linear(self, x: str, name: str, weight: torch.Tensor, bias: torch.Tensor, out: str | None = None) -> str:
        """x [T, in] @ weight [in, out] + bias; weights are stored in the order they are read."""
        names = [self.const(f"{name}.weight", weight.contiguous()), self.const(f"{name}.bias", bias)]
        return self.op("Gemm", [x, *names], out or name)


def write_router(g: GraphWriter, tokens: str, name: str, moe: MoeProjection) -> str:
    """Router of one layer: writes its three outputs, returns the name of the expert ids [T, k]."""
    logits = g.linear(tokens, f"{name}.gate_logits", moe.router.weight.T, moe.router.bias)
    g.op("Softmax", [logits], f"{name}.gate_probs", axis=1)
    kept, ids = f"{name}.kept_logits", f"{name}.expert_ids"
    g.op("TopK", [logits, "top_k"], [kept, ids], axis=1, largest=1, sorted=1)
    g.op("Softmax", [kept], f"{name}.combine_weights", axis=1)
    return ids


def write_slots(g: GraphWriter, ids: str, name: str, num_experts: int) -> str:
    """[E, T]: token · k + rank + 1 where the expert was chosen by the token, 0 elsewhere."""
    count = g.op("Size", [ids], f"{name}.pair_count")
    one = g.const("one", np.int64(1))
    end = g.op("Add", [count, one], f"{name}.pair_end")
    numbers = g.op("Range", [one, end, one], f"{name}.pair_numbers")
    shape = g.op("Shape", [ids], f"{name}.ids_shape")
    numbers = g.op("Reshape", [numbers, shape], f"{name}.slot_numbers")
    tokens = g.op("Shape", [ids], f"{name}.token_count", start=0, end=1)
    grid_shape = g.op("Concat", [tokens, g.ints(num_experts)], f"{name}.slots_shape", axis=0)
    zero = numpy_helper.from_array(np.zeros(1, np.int64))
    empty = g.op("ConstantOfShape", [grid_shape], f"{name}.no_slots", value=zero)
    slots = g.op("ScatterElements", [empty, ids, numbers], f"{name}.slots_by_token", axis=1)
    return g.op("Transpose", [slots], f"{name}.slots", perm=[1, 0])


def write_experts(g: GraphWriter, pieces: list[str], name: str, moe: MoeProjection) -> str:
    """Each expert on its own piece; the results one after the other, [pairs, out]."""
    results = []
    for expert, piece in enumerate(pieces):
        rows = slice(expert * moe.rank, (expert + 1) * moe.rank)
        prefix = f"{name}.expert{expert}"
        inner = g.linear(piece, f"{prefix}.down", moe.down.weight[rows].T, moe.down.bias[rows])
        inner = g.op("Relu", [inner], f"{prefix}.relu")
        results.append(g.linear(inner, f"{prefix}.up", moe.up[rows], moe.up_bias[expert]))
    return g.op("Concat", results, f"{name}.expert_outputs", axis=0)


def write_dispatch(g: GraphWriter, tokens: str, slots: str, name: str, num_experts: int) -> tuple[list[str], str]:
    """The tokens of every expert, and the slot of every (expert, token) pair in the same order, [pairs, 1]."""
    pairs = g.op("NonZero", [slots], f"{name}.pairs_by_axis")
    pairs = g.op("Transpose", [pairs], f"{name}.pairs", perm=[1, 0])
    token_of_pair = g.op("Gather", [pairs, g.const("one", np.int64(1))], f"{name}.token_of_pair", axis=1)
    gathered = g.op("Gather", [tokens, token_of_pair], f"{name}.gathered", axis=0)
    used = g.op("Sign", [slots], f"{name}.used")
    counts = g.op("ReduceSum", [used, g.ints(1)], f"{name}.counts", keepdims=0)
    pieces = [f"{name}.expert{e}.tokens" for e in range(num_experts)]
    g.op("Split", [gathered, counts], pieces, axis=0)
    slot_of_pair = g.op("GatherND", [slots, pairs], f"{name}.slot_of_pair_from_1")
    slot_of_pair = g.op("Sub", [slot_of_pair, g.const("one", np.int64(1))], f"{name}.slot_of_pair")
    return pieces, g.op("Unsqueeze", [slot_of_pair, g.ints(1)], f"{name}.slot_index")


def write_combine(g: GraphWriter, results: str, slot_index: str, name: str, ids: str, out: int) -> str:
    """Results [pairs, out] → weighted sums over the k experts of each token, [T, out]."""
    count = g.op("Shape", [results], f"{name}.pairs_shape")
    empty = g.op("ConstantOfShape", [count], f"{name}.no_results")
    by_slot = g.op("ScatterND", [empty, slot_index, results], f"{name}.results_by_slot")
    shape = g.op("Shape", [ids], f"{name}.weights_shape")
    shape = g.op("Concat", [shape, g.ints(out)], f"{name}.ranked_shape", axis=0)
    ranked = g.op("Reshape", [by_slot, shape], f"{name}.results_by_rank")
    weights = g.op("Unsqueeze", [f"{name}.combine_weights", g.ints(2)], f"{name}.weight_columns")
    weighted = g.op("Mul", [ranked, weights], f"{name}.weighted")
    return g.op("ReduceSum", [weighted, g.ints(1)], f"{name}.output", keepdims=0)


def write_moe(g: GraphWriter, tokens: str, name: str, moe: MoeProjection) -> str:
    """Tokens [T, hidden] → [T, out]."""
    ids = write_router(g, tokens, name, moe)
    slots = write_slots(g, ids, name, moe.num_experts)
    pieces, slot_index = write_dispatch(g, tokens, slots, name, moe.num_experts)
    results = write_experts(g, pieces, name, moe)
    return write_combine(g, results, slot_index, name, ids, moe.up.shape[1])


def write_hidden(g: GraphWriter, x: str, name: str, block: Block) -> str:
    """Expand and depthwise, as `Block.hidden`."""
    spec = block.spec
    if block.expand is not None:
        x = g.conv(x, f"{name}.expand", block.expand.weight, block.expand.bias)
        x = g.relu6(x, f"{name}.expand.relu6")
    before, after = spec.pad
    x = g.conv(
        x, f"{name}.depthwise", block.depthwise.weight, block.depthwise.bias, group=spec.hidden,
        strides=[spec.stride] * 2, dilations=[spec.dilation] * 2, pads=[before, before, after, after],
    )
    return g.relu6(x, f"{name}.depthwise.relu6")


def write_dense_block(g: GraphWriter, x: str, name: str, block: Block) -> str:
    hidden = write_hidden(g, x, name, block)
    y = g.conv(hidden, f"{name}.project", block.project.weight, block.project.bias)
    return g.op("Add", [x, y], f"{name}.sum") if block.spec.residual else y


def write_moe_block(g: GraphWriter, x: str, name: str, layer: str, block: Block) -> str:
    """A block whose projection is the MoE called `layer`; tokens are image-major, then row-major."""
    hidden = write_hidden(g, x, name, block)
    channels_last = g.op("Transpose", [hidden], f"{name}.channels_last", perm=[0, 2, 3, 1])
    tokens = g.op("Reshape", [channels_last, g.ints(-1, block.spec.hidden)], f"{layer}.tokens")
    y = write_moe(g, tokens, layer, block.project)
    y = g.op("Reshape", [y, g.ints(-1, GRID, GRID, block.spec.out_channels)], f"{name}.grid")
    y = g.op("Transpose", [y], f"{name}.channels_first", perm=[0, 3, 1, 2])
    return g.op("Add", [x, y], f"{name}.sum") if block.spec.residual else y


def write_network(g: GraphWriter, student: Student) -> list[str]:
    """The whole graph; returns the names of the MoE layers."""
    x = g.conv("pixels", "stem", student.stem.weight, student.stem.bias, strides=[2, 2], pads=[0, 0, 1, 1])
    x = g.relu6(x, "stem.relu6")
    layers: list[str] = []
    for number, block in enumerate(student.blocks):
        name = f"block{number}"
        if number in student.ranks:
            layers.append(f"moe.{len(layers) + 1}")
            x = write_moe_block(g, x, name, layers[-1], block)
        else:
            x = write_dense_block(g, x, name, block)
    x = g.conv(x, "head", student.head.weight, student.head.bias)
    x = g.relu6(x, "head.relu6")
    x = g.op("GlobalAveragePool", [x], "pooled_grid")
    x = g.op("Flatten", [x], "pooled", axis=1)
    g.linear(x, "classifier", student.classifier.weight.T, student.classifier.bias, out="logits")
    return layers


def build_model(student: Student, card_json: str, default_top_k: int = 2) -> onnx.ModelProto:
    """The complete model, checked, with the card in its metadata."""
    g = GraphWriter()
    g.const("top_k", np.array([default_top_k], np.int64))
    layers = write_network(g, student)
    info = helper.make_tensor_value_info
    inputs = [info("pixels", TensorProto.FLOAT, ["batch", 3, 224, 224]), info("top_k", TensorProto.INT64, [1])]
    outputs = [info("logits", TensorProto.FLOAT, ["batch", NUM_CLASSES])]
    for layer in layers:
        outputs += [
            info(f"{layer}.gate_probs", TensorProto.FLOAT, ["tokens", student.num_experts]),
            info(f"{layer}.expert_ids", TensorProto.INT64, ["tokens", "k"]),
            info(f"{layer}.combine_weights", TensorProto.FLOAT, ["tokens", "k"]),
        ]
    graph = helper.make_graph(g.nodes, "moescope-default", inputs, outputs, list(g.initializers.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="moescope-default")
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {"moescope.card": card_json})
    onnx.checker.check_model(model, full_check=True)
    return model
