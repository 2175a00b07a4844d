"""Well-known rules in rarer graphs: loops and branches, other layouts, and what happens to a graph after its export.

The rewriting of exported graphs is in `rewrites.py`.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import rewrites
from families.mixtral import TopKSoftmaxRouter
from families.variants import (
    DIM,
    EXPERTS,
    HIDDEN,
    MIXTRAL,
    RENORMALIZED,
    TOP_K,
    VMOE,
    EqualMask,
    Rule,
    Stacked,
    ruled,
    softmax_top_k,
    vit,
)
from routing import RouterCard, stacked
from row import add
from vit import TinyViT


class SortedByExpert(nn.Module):
    """Assignments sorted by expert id, as grouped products want them, and put back afterwards."""

    def __init__(self):
        super().__init__()
        self.router = Rule(RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K), softmax_top_k)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        expert, order = routing.expert_ids.flatten().sort()
        rows = flat[order // TOP_K]
        each = (F.gelu(rows[:, None] @ self.up[expert]) @ self.down[expert])[:, 0]
        each = each[order.argsort()].view(-1, TOP_K, DIM)
        return (each * routing.combine_weights[..., None]).sum(1).view(x.shape)


@torch.jit.script
def looped_experts(flat: Tensor, ids: Tensor, weights: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """A loop that stays a loop in the graph, with a branch in it that stays a branch."""
    out = torch.zeros_like(flat)
    for e in range(up.shape[0]):
        token, rank = torch.where(ids == e)
        if token.numel() > 0:
            each = torch.relu(flat[token] @ up[e]) @ down[e]
            out = out.index_add(0, token, each * weights[token, rank].unsqueeze(1))
    return out


class Looped(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = TopKSoftmaxRouter(DIM, EXPERTS, TOP_K)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        return looped_experts(flat, routing.expert_ids, routing.combine_weights, self.up, self.down).view(x.shape)


class ChannelsLast(TinyViT):
    """Takes NHWC, as models that came from TensorFlow or JAX do."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        return super().forward(pixel_values.permute(0, 3, 1, 2))


for EXPORTER in ("torchscript", "dynamo"):
    add(
        name=f"variant-sorted-{EXPORTER}",
        title=f"Assignments sorted by expert id, {EXPORTER}",
        paper=MIXTRAL,
        exporter=EXPORTER,
        rule_text=RENORMALIZED,
        opset=17 if EXPORTER == "torchscript" else None,
        build=lambda: vit(SortedByExpert),
        notes="The sort of ids is a TopK in the graph, but no router.",
    )
add(
    name="variant-loop",
    title="Loop and If in the graph",
    paper=MIXTRAL,
    opset=17,
    build=lambda: vit(Looped),
    rule_text="The two largest gate logits are kept; the combine weights are the softmax over those two.",
    notes="The experts are inside a Loop, and in it inside an If.",
)
add(
    name="variant-channels-last",
    title="NHWC input",
    paper=VMOE,
    opset=17,
    layout="NHWC",
    rule_text=RENORMALIZED,
    build=lambda: ChannelsLast(
        [Stacked(Rule(RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K), softmax_top_k)) for _ in range(2)],
        DIM,
    ),
)


def renormalised() -> nn.Module:
    return ruled("softmax_then_top_k_renormalized", softmax_top_k, EqualMask)()


for NAME, TITLE, REWRITE, MORE in (
    ("functions", "Everything in nested local functions", rewrites.into_functions, {}),
    (
        "half-weights",
        "Weights stored as float16, cast when used",
        rewrites.half_weights,
        {"build": lambda: renormalised().half().float()},
    ),
    (
        "bfloat-weights",
        "Weights stored as bfloat16, cast when used",
        rewrites.bfloat_weights,
        {"build": lambda: renormalised().bfloat16().float()},
    ),
    ("float16", "The whole graph in float16", rewrites.all_half, {"tolerance": 2e-2, "approximate": True}),
    ("int8", "Dynamic quantisation to 8-bit integers", rewrites.quantised, {"tolerance": 0.1, "approximate": True}),
    ("tf2onnx", "Names and shapes as tf2onnx leaves them", rewrites.plain_names, {}),
):
    add(
        name=f"variant-{NAME}",
        title=TITLE,
        paper=VMOE,
        opset=17,
        rule_text=RENORMALIZED,
        rewrite=REWRITE,
        **({"build": renormalised} | MORE),
    )
