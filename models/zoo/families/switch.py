"""Switch Transformer (Fedus, Zoph, Shazeer 2022, arXiv:2101.03961).

softmax over all experts, the best one only, weight p. An expert takes at most ceil(T/E · capacity_factor) tokens, in
the order of the sequence; a token that finds its expert full skips the layer (the residual connection carries it).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS = 32, 32, 4


class SwitchRouter(nn.Module):
    """Top-1 with first-come capacity."""

    def __init__(self, dim: int, num_experts: int, tokens: int, capacity_factor: float):
        super().__init__()
        self.gate = gate_linear(dim, num_experts)
        self.num_experts, self.capacity = num_experts, math.ceil(tokens / num_experts * capacity_factor)
        self.card = RouterCard(
            "softmax_then_top_k",
            num_experts,
            1,
            capacity={"per_expert": self.capacity, "group_tokens": tokens, "groups": 1, "priority": "first_come"},
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weight, expert = probs.max(-1)
        taken = F.one_hot(expert, self.num_experts).cumsum(0).gather(1, expert[:, None])
        return Routing(logits, probs, expert[:, None], weight[:, None], taken <= self.capacity)


class SwitchEinsum(nn.Module):
    """Dispatch and combine as tensor products over [T, E, C], as on the accelerators that Switch was made for."""

    def __init__(self, tokens: int = 16, capacity_factor: float = 1.0):
        super().__init__()
        self.router = SwitchRouter(DIM, EXPERTS, tokens, capacity_factor)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        chosen = F.one_hot(routing.expert_ids[:, 0], EXPERTS).to(flat.dtype)
        position = (chosen.cumsum(0) * chosen).sum(-1).long() - 1
        slot = F.one_hot(position.clamp(max=self.router.capacity), self.router.capacity + 1)[:, :-1].to(flat.dtype)
        dispatch = torch.einsum("te,tc->tec", chosen, slot)
        inner = F.relu(torch.einsum("tec,td,edh->ech", dispatch, flat, self.up))
        expert_out = torch.einsum("ech,ehd->ecd", inner, self.down)
        combine = dispatch * routing.combine_weights[:, :, None]
        return torch.einsum("tec,ecd->td", combine, expert_out).view(x.shape)


class SwitchLoop(nn.Module):
    """The same with a loop over the experts, each on its own tokens: how most PyTorch ports run it."""

    def __init__(self, tokens: int = 16, capacity_factor: float = 1.0):
        super().__init__()
        self.router = SwitchRouter(DIM, EXPERTS, tokens, capacity_factor)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        expert, kept, weight = routing.expert_ids[:, 0], routing.kept[:, 0], routing.combine_weights
        out = torch.zeros_like(flat)
        for e, mlp in enumerate(self.experts):
            mine = torch.nonzero((expert == e) & kept)[:, 0]
            out = out.index_put((mine,), mlp(flat[mine]) * weight[mine])
        return out.view(x.shape)


TEXT = "Softmax over all experts, the best one with its probability as weight; full experts drop later tokens."
PAPER = "Fedus, Zoph, Shazeer: Switch Transformers (JMLR 2022), arXiv:2101.03961"

add(
    name="switch",
    title="Switch, einsum dispatch",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    build=lambda: TinyViT([Mlp(DIM, HIDDEN), SwitchEinsum(), Mlp(DIM, HIDDEN), SwitchEinsum()], DIM),
    notes="Every other block; 16 tokens, 4 experts, capacity factor 1: 4 tokens per expert.",
    known_limits="Dropped tokens are an effect of the CumSum, not an output of the router.",
)
add(
    name="switch-loop-dynamo",
    title="Switch, loop over experts",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    build=lambda: TinyViT([SwitchLoop(capacity_factor=1.25), SwitchLoop(capacity_factor=1.25)], DIM),
    notes="torch.nonzero per expert, capacity factor 1.25: 5 tokens per expert.",
)
