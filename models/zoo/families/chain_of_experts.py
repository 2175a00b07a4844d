"""Chain-of-experts (Wang et al. 2025, arXiv:2506.18945): a layer runs the same experts several times.

Each iteration has its own gate over the result of the one before, and a residual connection inside the layer.
"""

import torch
from torch import Tensor, nn

from families.mixtral import SwiGlu
from routing import RouterCard, Routing, gate_linear
from row import add
from vit import RmsNorm, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K, ITERATIONS = 32, 16, 8, 2, 2


class IterationRouter(nn.Module):
    def __init__(self, iteration: int):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.card = RouterCard(
            "softmax_then_top_k_renormalized", EXPERTS, TOP_K, extra={"iteration": iteration, "iterations": ITERATIONS}
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        kept, ids = probs.topk(TOP_K, dim=-1)
        return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True))


class ChainOfExperts(nn.Module):
    def __init__(self):
        super().__init__()
        self.routers = nn.ModuleList(IterationRouter(i) for i in range(ITERATIONS))
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        for router in self.routers:
            routing = router(flat)
            out = torch.zeros_like(flat)
            for e, expert in enumerate(self.experts):
                token, rank = torch.where(routing.expert_ids == e)
                out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
            flat = flat + out
        return flat.view(x.shape)


add(
    name="chain-of-experts",
    title="Chain-of-experts",
    opset=17,
    paper="Wang et al.: Chain-of-Experts (2025), arXiv:2506.18945",
    rule_text="Softmax, the best two divided by their sum; the same experts twice, with a gate per iteration.",
    build=lambda: TinyViT([ChainOfExperts(), ChainOfExperts()], DIM, norm=RmsNorm),
    known_limits="Two routers share one set of experts: iterations of one layer, not two layers.",
)
