"""Soft MoE (Puigcerver et al. 2024, arXiv:2308.00951) whose experts are modules of their own.

The same rule as in soft_moe.py, as ports of the paper write it that take any network for an expert: the slots are cut
into one part per expert, or have an axis of experts of their own.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.soft_moe import DIM, HIDDEN, LIMIT, PAPER, TEXT, SoftRouter
from routing import RouterCard, Routing, stacked
from row import add
from vit import Mlp, TinyViT


class SlicedSlots(nn.Module):
    """Slots [B, E · slots, D]; each expert gets its slice, and their outputs are put together again."""

    def __init__(self, num_experts: int, slots: int, normalised: bool = False):
        super().__init__()
        self.slots = slots
        self.router = SoftRouter(num_experts, slots, normalised)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(num_experts))

    def forward(self, x: Tensor) -> Tensor:
        routing = self.router(x)
        dispatch, combine = (value.view(*x.shape[:2], -1) for value in (routing.dispatch, routing.combine))
        slots = dispatch.transpose(1, 2) @ x
        parts = [slots[:, e * self.slots : (e + 1) * self.slots] for e in range(len(self.experts))]
        return combine @ torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)], 1)


class SummedSlots(SlicedSlots):
    """No tensor has the outputs of all experts: each adds its part, weighted by its slots' part of the combine weights."""

    def forward(self, x: Tensor) -> Tensor:
        routing = self.router(x)
        dispatch, combine = (value.view(*x.shape[:2], -1) for value in (routing.dispatch, routing.combine))
        slots = dispatch.transpose(1, 2) @ x
        out = torch.zeros_like(x)
        for e, expert in enumerate(self.experts):
            mine = slice(e * self.slots, (e + 1) * self.slots)
            out = out + combine[:, :, mine] @ expert(slots[:, mine])
        return out


class AxisRouter(nn.Module):
    """X [B, N, D] → logits [B, N, E, slots]: softmax over N, and over experts and slots together."""

    def __init__(self, num_experts: int, slots: int):
        super().__init__()
        self.phi = nn.Parameter(torch.randn(DIM, num_experts, slots) * 2 / DIM**0.5)
        self.scale = nn.Parameter(torch.tensor(4.0))
        self.card = RouterCard("soft_moe", num_experts, None, extra={"slots": slots})

    def forward(self, x: Tensor) -> Routing:
        phi = self.scale * F.normalize(self.phi, dim=0)
        logits = torch.einsum("bnd,des->bnes", F.normalize(x, dim=-1), phi)
        dispatch, combine = logits.softmax(1), logits.flatten(2).softmax(-1)
        return Routing(
            gate_logits=logits.flatten(2).flatten(0, 1),
            dispatch=dispatch.flatten(2).flatten(0, 1),
            combine=combine.flatten(0, 1),
        )


class ExpertAxis(nn.Module):
    """Dispatch and combine as tensor products over [B, N, E, slots]; experts are modules, or weights [E, ..]."""

    def __init__(self, num_experts: int, slots: int, modules: bool):
        super().__init__()
        self.num_experts = num_experts
        self.router = AxisRouter(num_experts, slots)
        if modules:
            self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(num_experts))
        else:
            self.experts = None
            self.up, self.down = stacked(num_experts, DIM, HIDDEN), stacked(num_experts, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        routing = self.router(x)
        shape = (*x.shape[:2], self.num_experts, -1)
        dispatch, combine = routing.dispatch.view(shape), routing.combine.view(shape)
        slots = torch.einsum("bnd,bnes->besd", x, dispatch)
        if self.experts is None:
            out = torch.einsum("besh,ehd->besd", F.gelu(torch.einsum("besd,edh->besh", slots, self.up)), self.down)
        else:
            out = torch.stack([expert(slots[:, e]) for e, expert in enumerate(self.experts)], 1)
        return torch.einsum("besd,bnes->bnd", out, combine)


def vit(layer) -> nn.Module:
    return TinyViT([layer(), layer()], DIM)


add(
    name="soft-moe-branches",
    title="Soft MoE, a module per expert",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    known_limits=LIMIT,
    build=lambda: vit(lambda: SlicedSlots(4, 3)),
    notes="4 experts with 3 slots each, cut from one tensor of slots.",
)
add(
    name="soft-moe-branches-summed-dynamo",
    title="Soft MoE, a module per expert, summed",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    known_limits=LIMIT,
    build=lambda: vit(lambda: SummedSlots(4, 2, True)),
    notes="4 experts with 2 slots each; each expert's part of the combine weights multiplies its outputs.",
)
add(
    name="soft-moe-axes",
    title="Soft MoE, axes of experts and slots",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    known_limits=LIMIT,
    build=lambda: vit(lambda: ExpertAxis(4, 3, modules=True)),
    notes="Logits [B, N, E, slots]; 4 experts, modules of their own, with 3 slots each.",
)
add(
    name="soft-moe-axes-dynamo",
    title="Soft MoE, axes of experts and slots, stacked experts",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    known_limits=LIMIT,
    build=lambda: vit(lambda: ExpertAxis(5, 2, modules=False)),
    dynamic_batch=True,
    notes="Logits [B, N, E, slots]; 5 experts in stacked weights with 2 slots each; the batch is dynamic.",
)
