"""Four ways in which tracing loses experts without a word.

They are the mixtures of the other families, written as many PyTorch ports are: a Python loop or branch that looks at
how the tokens of the traced image were routed. The TorchScript exporter keeps the path that this image took. The graph
runs, and is wrong.
"""

import torch
from torch import Tensor, nn

from families.mixtral import DIM, HIDDEN, SwiGlu, TopKSoftmaxRouter
from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Mlp, TinyViT

EXPERTS, TOP_K = 8, 2


class LoopOverHit(nn.Module):
    """Runs the experts that some token chose: those of the traced image, for ever."""

    def __init__(self):
        super().__init__()
        self.router = TopKSoftmaxRouter(DIM, EXPERTS, TOP_K)
        self.router.card.frozen = True
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        out = torch.zeros_like(flat)
        for e in routing.expert_ids.unique().tolist():
            token, rank = torch.where(routing.expert_ids == e)
            out = out.index_add(0, token, self.experts[e](flat[token]) * routing.combine_weights[token, rank, None])
        return out.view(x.shape)


class Mixture(nn.Module):
    """Small experts behind one gate; how they are run is what the ports below do differently."""

    def __init__(self):
        super().__init__()
        self.gate = SoftmaxTopKRouter()
        self.experts = nn.ModuleList(Mlp(DIM, 32) for _ in range(EXPERTS))


class LoopSkipsEmpty(Mixture):
    """Leaves out the experts that no token of the traced image chose."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.gate(flat)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token, rank = torch.nonzero(routing.expert_ids == e, as_tuple=True)
            if token.shape[0] == 0:
                continue
            out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
        return out.view(x.shape)


class AddsInPlace(Mixture):
    """`out[token] += …`: where the traced image gave an expert one token alone, the exporter fixes that number."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.gate(flat)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token, rank = torch.where(routing.expert_ids == e)
            out[token] += routing.combine_weights[token, rank, None] * expert(flat[token])
        return out.view(x.shape)


class SplitBySizes(Mixture):
    """Tokens sorted by expert and split by counts that were read out of the tensor: the traced counts."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.gate(flat)
        assigned = routing.expert_ids.flatten()
        order = (assigned * assigned.shape[0] + torch.arange(assigned.shape[0])).argsort()
        counts = torch.bincount(assigned, minlength=EXPERTS).tolist()
        parts = flat[order // TOP_K].split(counts)
        each = torch.cat([expert(part) for expert, part in zip(self.experts, parts, strict=True)])
        by_token = each[order.argsort()].view(-1, TOP_K, DIM)
        return (by_token * routing.combine_weights[:, :, None]).sum(1).view(x.shape)


class SoftmaxTopKRouter(nn.Module):
    """softmax → top-k, divided by the sum of the kept."""

    def __init__(self):
        super().__init__()
        self.linear = gate_linear(DIM, EXPERTS)
        self.card = RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K, frozen=True)

    def forward(self, x: Tensor) -> Routing:
        logits = self.linear(x)
        probs = logits.softmax(-1)
        kept, ids = probs.topk(TOP_K, dim=-1)
        return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True))


WRONG = (
    "The routers are right, what is computed with them is not: logits of other images than the traced one are wrong."
)

add(
    name="frozen-hit-experts",
    title="Loop over the experts hit while tracing",
    frozen=True,
    opset=17,
    paper="Mixtral (arXiv:2401.04088), in the manner of many ports",
    known_limits=WRONG,
    rule_text="The two largest gate logits are kept; the combine weights are the softmax over those two.",
    build=lambda: TinyViT([LoopOverHit(), LoopOverHit()], DIM),
    notes="Fewer expert branches than the router is wide.",
)
add(
    name="frozen-skipped-experts",
    title="Experts without tokens skipped while tracing",
    frozen=True,
    opset=17,
    paper="Mixtral (arXiv:2401.04088), in the manner of many ports",
    known_limits=WRONG,
    rule_text="Softmax over all experts, the best two, divided by their sum.",
    build=lambda: TinyViT([LoopSkipsEmpty(), LoopSkipsEmpty()], DIM),
    notes="Fewer expert branches than the router is wide.",
)
add(
    name="frozen-split-sizes",
    title="Tokens split by the counts of the traced image",
    frozen=True,
    opset=17,
    paper="Shazeer et al. 2017 (arXiv:1701.06538), in the manner of many ports",
    known_limits=WRONG,
    rule_text="Softmax over all experts, the best two, divided by their sum.",
    build=lambda: TinyViT([SplitBySizes(), SplitBySizes()], DIM),
    notes="All experts are there, but the number of tokens that each gets is a constant of the graph.",
)
add(
    name="frozen-row-count",
    title="An expert that may take one token alone",
    frozen=True,
    opset=17,
    paper="Jiang et al. 2024 (arXiv:2401.04088), in the manner of many ports",
    known_limits=WRONG,
    rule_text="Softmax over all experts, the best two, divided by their sum.",
    build=lambda: TinyViT([Mlp(DIM, 32), AddsInPlace()], DIM),
    notes="`out[token] += …` for an expert with one token is exported with the shape of one token; fails on other images.",
)
