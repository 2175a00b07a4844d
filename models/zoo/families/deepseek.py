"""DeepSeek's mixtures: fine-grained routed experts, and shared experts that see every token.

DeepSeekMoE (Dai et al. 2024, arXiv:2401.06066): softmax → top-k, not renormalised.
V2 (arXiv:2405.04434): the same among the groups whose best score is largest, weights × a factor.
V3 (arXiv:2412.19437): sigmoid; a bias per expert takes part in the choice of groups (sum of their two best) and
experts, not in the weights, which are divided by their sum and multiplied by a factor.
V4: as V3 without groups, with sqrt(softplus(logit)) for scores.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.mixtral import SwiGlu
from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import RmsNorm, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 32, 12, 12, 4


class GreedyRouter(nn.Module):
    """softmax → top-k, optionally only within the best groups, weights not renormalised."""

    def __init__(self, groups: int = 1, kept_groups: int = 1, scale: float | None = None, shared: int = 1):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.groups, self.kept_groups, self.scale = groups, kept_groups, scale
        limited = {"count": groups, "kept": kept_groups} if groups > 1 else None
        self.card = RouterCard("softmax_then_top_k", EXPERTS, TOP_K, groups=limited, scale=scale, shared_experts=shared)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = scores = logits.softmax(-1)
        if self.groups > 1:
            best = probs.view(-1, self.groups, EXPERTS // self.groups).amax(-1)
            scores = probs.masked_fill(~group_mask(best, self.kept_groups, EXPERTS), 0.0)
        weights, ids = scores.topk(TOP_K, dim=-1)
        if self.scale is not None:
            weights = weights * self.scale
        selection = scores if self.groups > 1 else None
        return Routing(logits, probs, ids, weights, selection_scores=selection)


class BiasedRouter(nn.Module):
    """V3 and V4: chosen by score + bias, weighted by the score."""

    def __init__(self, groups: int, kept_groups: int, scale: float, score: str):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.bias = nn.Parameter(torch.randn(EXPERTS) * 0.1)
        self.groups, self.kept_groups, self.scale, self.score = groups, kept_groups, scale, score
        limited = {"count": groups, "kept": kept_groups} if groups > 1 else None
        self.card = RouterCard(
            f"{score}_then_top_k_renormalized",
            EXPERTS,
            TOP_K,
            selection_bias=True,
            groups=limited,
            scale=scale,
            shared_experts=1,
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        scores = logits.sigmoid() if self.score == "sigmoid" else F.softplus(logits).sqrt()
        choice = scores + self.bias
        if self.groups > 1:
            best_two = choice.view(-1, self.groups, EXPERTS // self.groups).topk(2, dim=-1).values.sum(-1)
            choice = choice.masked_fill(~group_mask(best_two, self.kept_groups, EXPERTS), float("-inf"))
        ids = choice.topk(TOP_K, dim=-1).indices
        weights = scores.gather(1, ids)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.scale
        return Routing(logits, scores, ids, weights, selection_scores=choice)


def group_mask(group_scores: Tensor, kept: int, num_experts: int) -> Tensor:
    """Which experts [T, E] lie in the best groups, by `group_scores` [T, groups]."""
    best = group_scores.topk(kept, dim=-1).indices
    mask = torch.zeros_like(group_scores).scatter(1, best, 1.0)
    return mask[:, :, None].expand(-1, -1, num_experts // mask.shape[1]).reshape(-1, num_experts).bool()


class DeepSeekLoop(nn.Module):
    """Shared experts beside a loop over the routed ones."""

    def __init__(self, router: nn.Module, shared: int = 1):
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))
        self.shared = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(shared))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token, rank = torch.where(routing.expert_ids == e)
            out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
        return (out + sum(expert(flat) for expert in self.shared)).view(x.shape)


class DeepSeekDense(nn.Module):
    """All routed experts on all tokens, weighted by a [T, E] table that is zero for those not chosen."""

    def __init__(self, router: nn.Module):
        super().__init__()
        self.router, self.shared = router, SwiGlu(DIM, 2 * HIDDEN)
        self.gate, self.up, self.down = (
            stacked(EXPERTS, DIM, HIDDEN),
            stacked(EXPERTS, DIM, HIDDEN),
            stacked(EXPERTS, HIDDEN, DIM),
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        table = torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)
        inner = F.silu(torch.einsum("td,edh->eth", flat, self.gate)) * torch.einsum("td,edh->eth", flat, self.up)
        out = torch.einsum("te,eth,ehd->td", table, inner, self.down)
        return (out + self.shared(flat)).view(x.shape)


class DeepSeekPicked(nn.Module):
    """All routed experts on all tokens, stacked [T, E, D]; then each token picks its k rows."""

    def __init__(self, router: nn.Module):
        super().__init__()
        self.router, self.shared = router, SwiGlu(DIM, HIDDEN)
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        every = torch.stack([expert(flat) for expert in self.experts], 1)
        picked = every.gather(1, routing.expert_ids[:, :, None].expand(-1, -1, DIM))
        return ((picked * routing.combine_weights[:, :, None]).sum(1) + self.shared(flat)).view(x.shape)


def model(layer) -> nn.Module:
    """The first block is dense, as in these models."""
    return TinyViT([SwiGlu(DIM, 48), layer(), layer()], DIM, norm=RmsNorm)


SHARED = "Shared experts see every token and are no choice of the router."

add(
    name="deepseek-moe",
    title="DeepSeekMoE",
    exporter="torchscript",
    opset=17,
    known_limits=SHARED,
    paper="Dai et al.: DeepSeekMoE (2024), arXiv:2401.06066",
    rule_text="Softmax over all experts, the best four with their probabilities; two shared experts beside them.",
    build=lambda: model(lambda: DeepSeekLoop(GreedyRouter(shared=2), shared=2)),
)
add(
    name="deepseek-v2",
    title="DeepSeek-V2, group-limited",
    exporter="torchscript",
    opset=17,
    known_limits=SHARED,
    paper="DeepSeek-AI: DeepSeek-V2 (2024), arXiv:2405.04434",
    rule_text="Softmax; the two groups with the best scores are kept, in them the best four experts; weights × 1.5.",
    build=lambda: model(lambda: DeepSeekDense(GreedyRouter(4, 2, 1.5))),
    notes="All experts run on all tokens. The shared expert is twice as wide as a routed one.",
)
add(
    name="deepseek-v3",
    title="DeepSeek-V3, noaux_tc",
    exporter="torchscript",
    opset=17,
    known_limits=SHARED,
    paper="DeepSeek-AI: DeepSeek-V3 (2024), arXiv:2412.19437",
    rule_text="Sigmoid; chosen by score + bias within two of four groups; weights are the scores "
    "divided by their sum, × 2.5.",
    build=lambda: model(lambda: DeepSeekLoop(BiasedRouter(4, 2, 2.5, "sigmoid"))),
)
add(
    name="deepseek-v3-dynamo",
    title="DeepSeek-V3, noaux_tc, dense table",
    exporter="dynamo",
    known_limits=SHARED,
    paper="DeepSeek-AI: DeepSeek-V3 (2024), arXiv:2412.19437",
    rule_text="Sigmoid; chosen by score + bias within two of four groups; weights are the scores "
    "divided by their sum, × 2.5.",
    build=lambda: model(lambda: DeepSeekDense(BiasedRouter(4, 2, 2.5, "sigmoid"))),
)
add(
    name="deepseek-v4-dynamo",
    seed=1,
    title="DeepSeek-V4, square root of softplus",
    exporter="dynamo",
    known_limits=SHARED,
    paper="DeepSeek-V4's router as in Hugging Face transformers (deepseek_v4)",
    rule_text="sqrt(softplus); chosen by score + bias; weights are the scores divided by their sum, × 1.5.",
    build=lambda: model(lambda: DeepSeekPicked(BiasedRouter(1, 1, 1.5, "sqrt_softplus"))),
)
