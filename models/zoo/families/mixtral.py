"""Mixtral of experts (Jiang et al. 2024, arXiv:2401.04088): top-2, softmax over the two kept logits, SwiGLU experts."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import RmsNorm, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 32, 24, 8, 2


class TopKSoftmaxRouter(nn.Module):
    """Keep the k best logits, softmax over those."""

    def __init__(self, dim: int, num_experts: int, top_k: int, bias: bool = False):
        super().__init__()
        self.gate = gate_linear(dim, num_experts, bias)
        self.top_k = top_k
        self.card = RouterCard("top_k_then_softmax", num_experts, top_k)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        kept, ids = logits.topk(self.top_k, dim=-1)
        return Routing(gate_logits=logits, expert_ids=ids, combine_weights=kept.softmax(-1))


class SwiGlu(nn.Module):
    """down(silu(gate(x)) · up(x))."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.gate, self.up = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.down = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.silu(self.gate(x)) * self.up(x))


class MixtralLoop(nn.Module):
    """A one-hot mask [E, k, T]; each expert runs on its tokens, and the results are added where they belong."""

    def __init__(self):
        super().__init__()
        self.router = TopKSoftmaxRouter(DIM, EXPERTS, TOP_K)
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        mask = F.one_hot(routing.expert_ids, EXPERTS).permute(2, 1, 0)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            rank, token = torch.where(mask[e])
            out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
        return out.view(x.shape)


class MixtralGathered(nn.Module):
    """Each token gathers the weights of its k experts: fast for few tokens, and free of loops."""

    def __init__(self):
        super().__init__()
        self.router = TopKSoftmaxRouter(DIM, EXPERTS, TOP_K)
        self.gate_up, self.down = stacked(EXPERTS, DIM, 2 * HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        gate, up = (flat[:, None, None] @ self.gate_up[routing.expert_ids]).chunk(2, -1)
        each = (F.silu(gate) * up) @ self.down[routing.expert_ids]
        return (each[:, :, 0] * routing.combine_weights[..., None]).sum(1).view(x.shape)


TEXT = "The two largest gate logits are kept; the combine weights are the softmax over those two."
PAPER = "Jiang et al.: Mixtral of Experts (2024), arXiv:2401.04088"

add(
    name="mixtral",
    title="Mixtral, loop over experts",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    build=lambda: TinyViT([MixtralLoop(), MixtralLoop()], DIM, norm=RmsNorm),
)
add(
    name="mixtral-gathered-dynamo",
    title="Mixtral, gathered weights",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    build=lambda: TinyViT([MixtralGathered(), MixtralGathered()], DIM, norm=RmsNorm),
    dynamic_batch=True,
    notes="The batch is dynamic; tokens of all images stand in one list.",
)
