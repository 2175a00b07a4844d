"""Grok-1 (xAI 2024): softmax over 8 experts in float32, the best two with their probabilities, experts GELU(xW) · xV.

The published code does not divide the two weights by their sum; some ports do.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import RmsNorm, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 32, 32, 8, 2


class GrokRouter(nn.Module):
    def __init__(self):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.card = RouterCard("softmax_then_top_k", EXPERTS, TOP_K)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, ids = probs.topk(TOP_K, dim=-1)
        return Routing(logits, probs, ids, weights)


class GrokMoe(nn.Module):
    """Every assignment runs through all experts, and a one-hot product picks the right one."""

    def __init__(self):
        super().__init__()
        self.router = GrokRouter()
        self.gate, self.value = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, DIM, HIDDEN)
        self.down = stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        chosen = F.one_hot(routing.expert_ids.flatten(), EXPERTS).to(flat.dtype)
        repeated = flat[:, None].expand(-1, TOP_K, -1).reshape(-1, DIM)
        inner = F.gelu(self.pick(chosen, repeated, self.gate), approximate="tanh") * self.pick(
            chosen, repeated, self.value
        )
        each = self.pick(chosen, inner, self.down).view(-1, TOP_K, DIM)
        return (routing.combine_weights[..., None] * each).sum(1).view(x.shape)

    @staticmethod
    def pick(chosen: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return torch.einsum("ae,aen->an", chosen, torch.einsum("ad,edn->aen", x, weight))


PAPER = "xAI: Grok-1 (2024), github.com/xai-org/grok-1"
TEXT = "Softmax over 8 experts, the best two with their probabilities, not renormalised."
add(
    name="grok",
    title="Grok-1",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    build=lambda: TinyViT([GrokMoe(), GrokMoe()], DIM, norm=RmsNorm),
    notes="All experts run on every assignment.",
)
