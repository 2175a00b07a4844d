"""Soft MoE (Puigcerver et al. 2024, arXiv:2308.00951).

Every slot of every expert gets a mix of all tokens of an image (softmax over TOKENS), every token a mix of all slots
(softmax over slots), from the same logits. Nothing is chosen and nothing dropped.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN = 32, 32


class SoftRouter(nn.Module):
    """X [B, N, D] → dispatch and combine [B·N, E · slots]."""

    def __init__(self, num_experts: int, slots: int, normalised: bool):
        super().__init__()
        self.phi = nn.Parameter(torch.randn(DIM, num_experts * slots) * 2 / DIM**0.5)
        self.scale = nn.Parameter(torch.tensor(4.0)) if normalised else None
        self.card = RouterCard("soft_moe", num_experts, None, extra={"slots": slots})

    def forward(self, x: Tensor) -> Routing:
        if self.scale is None:
            logits = x @ self.phi
        else:
            logits = F.normalize(x, dim=-1) @ (self.scale * F.normalize(self.phi, dim=0))
        dispatch, combine = logits.softmax(1), logits.softmax(2)
        return Routing(gate_logits=logits.flatten(0, 1), dispatch=dispatch.flatten(0, 1), combine=combine.flatten(0, 1))


class SoftMoe(nn.Module):
    def __init__(self, num_experts=4, slots=4, normalised=False):
        super().__init__()
        self.num_experts, self.slots = num_experts, slots
        self.router = SoftRouter(num_experts, slots, normalised)
        self.up, self.down = stacked(num_experts, DIM, HIDDEN), stacked(num_experts, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, _ = x.shape
        routing = self.router(x)
        dispatch, combine = (value.view(batch, tokens, -1) for value in (routing.dispatch, routing.combine))
        slots = (dispatch.transpose(1, 2) @ x).view(batch, self.num_experts, self.slots, DIM)
        out = F.gelu(slots @ self.up) @ self.down
        return combine @ out.flatten(1, 2)


PAPER = "Puigcerver et al.: From Sparse to Soft Mixtures of Experts (ICLR 2024), arXiv:2308.00951"
TEXT = "Softmax over the tokens mixes tokens into slots, softmax over the slots of all experts mixes them back."
LIMIT = "No expert is chosen; the share of a token's combine weights per expert is the sum over its slots."

add(
    name="soft-moe",
    title="Soft MoE",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    known_limits=LIMIT,
    build=lambda: TinyViT([Mlp(DIM, HIDDEN), Mlp(DIM, HIDDEN), SoftMoe(), SoftMoe()], DIM),
    notes="The last 2 of 4 blocks; 4 experts with 4 slots each for 16 tokens.",
)
add(
    name="soft-moe-normalised-dynamo",
    title="Soft MoE, normalised logits",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    known_limits=LIMIT,
    build=lambda: TinyViT([SoftMoe(8, 1, True), SoftMoe(8, 1, True)], DIM),
    dynamic_batch=True,
    notes="Tokens and parameters normalised before the product, with a learned scale; 8 experts with 1 slot each.",
)
