"""Rules rarer than the well-known ones, on one kind of experts: all of which run, weighted by a table [T, E]."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 24, 24, 6, 2


class Rule(nn.Module):
    """A router whose rule is a function of the gate logits."""

    def __init__(self, card: RouterCard, choose, bias: bool = False):
        super().__init__()
        self.gate, self.card, self.choose = gate_linear(DIM, card.num_experts), card, choose
        self.bias = nn.Parameter(torch.randn(card.num_experts) * 0.1) if bias else None

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        return self.choose(logits) if self.bias is None else self.choose(logits, self.bias)


class Stacked(nn.Module):
    """All experts on all tokens [E, T, D], weighted by a table [T, E]."""

    def __init__(self, router: nn.Module, num_experts: int = EXPERTS):
        super().__init__()
        self.router = router
        self.up, self.down = stacked(num_experts, DIM, HIDDEN), stacked(num_experts, HIDDEN, DIM)

    def table(self, routing: Routing) -> Tensor:
        return torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        out = F.gelu(flat @ self.up) @ self.down
        return (out * self.table(self.router(flat)).t()[:, :, None]).sum(0).view(x.shape)


def softmax_top_k(logits: Tensor) -> Routing:
    probs = logits.softmax(-1)
    kept, ids = probs.topk(TOP_K, dim=-1)
    return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True))


def softmax_written_out(logits: Tensor) -> Routing:
    raised = (logits - logits.amax(-1, keepdim=True)).exp()
    probs = raised / raised.sum(-1, keepdim=True)
    weights, ids = probs.topk(TOP_K, dim=-1)
    return Routing(logits, probs, ids, weights)


def sigmoid_top_k(logits: Tensor) -> Routing:
    probs = logits.sigmoid()
    weights, ids = probs.topk(TOP_K, dim=-1)
    return Routing(logits, probs, ids, weights)


def ernie(logits: Tensor, bias: Tensor) -> Routing:
    probs = logits.softmax(-1)
    ids = (probs + bias).topk(TOP_K, dim=-1).indices
    kept = probs.gather(1, ids)
    return Routing(
        logits, probs, ids, kept / kept.sum(-1, keepdim=True).clamp(min=1e-12), selection_scores=probs + bias
    )


def softmax_over_one(logits: Tensor) -> Routing:
    kept, ids = logits.topk(1, dim=-1)
    return Routing(gate_logits=logits, expert_ids=ids, combine_weights=kept.softmax(-1))


def sinkhorn(logits: Tensor) -> Routing:
    """Balanced in training; afterwards the largest logit alone decides, and nothing is weighted."""
    ids = logits.argmax(-1, keepdim=True)
    return Routing(gate_logits=logits, expert_ids=ids, combine_weights=torch.ones_like(ids, dtype=logits.dtype))


def threshold(logits: Tensor) -> Routing:
    """Every expert whose sigmoid exceeds 0.5, none to all of them."""
    scores = logits.sigmoid()
    ordered, ids = scores.sort(-1, descending=True)
    kept = ordered > 0.5
    return Routing(logits, scores, ids, ordered * kept, kept)


class EqualMask(Stacked):
    """The table by comparing ids with 0…E−1, instead of a one-hot or a scatter."""

    def table(self, routing: Routing) -> Tensor:
        chosen = routing.expert_ids[..., None] == torch.arange(EXPERTS)
        return (chosen * routing.combine_weights[..., None]).sum(1)


class Thresholded(Stacked):
    """No list of experts: scores below the threshold become zero."""

    def table(self, routing: Routing) -> Tensor:
        return torch.where(routing.gate_probs > 0.5, routing.gate_probs, torch.zeros_like(routing.gate_probs))


class ArgMaxOnly(nn.Module):
    """Weights of the one expert are gathered; nothing is multiplied."""

    def __init__(self):
        super().__init__()
        self.router = Rule(RouterCard("arg_max", EXPERTS, 1), sinkhorn)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        ids = self.router(flat).expert_ids[:, 0]
        return (F.gelu(flat[:, None] @ self.up[ids]) @ self.down[ids])[:, 0].view(x.shape)


class SharedGate(Stacked):
    """A shared expert with a gate of its own, one sigmoid per token (Qwen2-MoE)."""

    def __init__(self):
        card = RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K, shared_experts=1)
        super().__init__(Rule(card, softmax_top_k))
        self.shared, self.shared_gate = Mlp(DIM, HIDDEN), nn.Linear(DIM, 1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.shared_gate(x).sigmoid() * self.shared(x)


class Hierarchical(nn.Module):
    """Two levels (Jordan and Jacobs 1994): a soft gate over groups, and in each group a soft gate over its experts."""

    def __init__(self, groups: int = 2, each: int = 3):
        super().__init__()
        self.outer = SoftRule(groups)
        self.inner = nn.ModuleList(SoftRule(each) for _ in range(groups))
        self.experts = nn.ModuleList(nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(each)) for _ in range(groups))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        outer = self.outer(flat).combine_weights
        out = torch.zeros_like(flat)
        for g, experts in enumerate(self.experts):
            inner = self.inner[g](flat).combine_weights
            out = out + outer[:, g, None] * sum(inner[:, e, None] * expert(flat) for e, expert in enumerate(experts))
        return out.view(x.shape)


class SoftRule(nn.Module):
    def __init__(self, num_experts: int):
        super().__init__()
        self.gate, self.card = gate_linear(DIM, num_experts), RouterCard("soft", num_experts, None)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        return Routing(gate_logits=logits, gate_probs=probs, combine_weights=probs)


def vit(layer) -> nn.Module:
    return TinyViT([layer(), layer()], DIM)


def ruled(rule: str, choose, layer=Stacked, top_k: int | None = TOP_K, **more):
    """A ViT with two mixtures of one rule."""
    return lambda: vit(
        lambda: layer(Rule(RouterCard(rule, EXPERTS, top_k, selection_bias="bias" in more), choose, **more))
    )


RENORMALIZED = "Softmax over all experts, the best two, divided by their sum."
MIXTRAL = "Jiang et al.: Mixtral of Experts (2024), arXiv:2401.04088"
VMOE = "Riquelme et al.: V-MoE (NeurIPS 2021), arXiv:2106.05974"
add(
    name="variant-softmax-written-out",
    title="Softmax as Max, Sub, Exp, Sum and Div",
    paper=VMOE,
    opset=17,
    rule_text="Softmax over all experts, the best two with their probabilities.",
    build=ruled("softmax_then_top_k", softmax_written_out),
)
add(
    name="variant-equal-mask",
    title="Mask by Equal with 0…E−1",
    paper=VMOE,
    opset=17,
    rule_text=RENORMALIZED,
    build=ruled("softmax_then_top_k_renormalized", softmax_top_k, EqualMask),
)
add(
    name="variant-sigmoid",
    title="Sigmoid, not renormalised",
    paper=VMOE,
    opset=17,
    rule_text="Sigmoid, the best two with their scores.",
    build=ruled("sigmoid_then_top_k", sigmoid_top_k),
)
add(
    name="variant-ernie",
    title="Chosen on softmax + bias (ERNIE 4.5)",
    paper="Baidu: ERNIE 4.5 technical report (2025)",
    exporter="dynamo",
    rule_text="Softmax; chosen by probability + bias; weighted by the unbiased probabilities divided by their sum.",
    build=ruled("softmax_then_top_k_renormalized", ernie, bias=True),
)
add(
    name="variant-softmax-over-one",
    title="Softmax over one kept value",
    paper=MIXTRAL,
    opset=17,
    rule_text="The largest gate logit; the softmax over this one value is always 1.",
    build=ruled("top_k_then_softmax", softmax_over_one, top_k=1),
    known_limits="The combine weight is always 1.",
)
add(
    name="variant-argmax-only",
    title="ArgMax alone (Sinkhorn-trained)",
    paper="Clark et al.: Unified Scaling Laws (2022), arXiv:2202.01169",
    rule_text="The expert with the largest logit; nothing is weighted.",
    opset=17,
    build=lambda: vit(ArgMaxOnly),
    known_limits="No combine weight is in the graph; 1 is recorded.",
)
add(
    name="variant-threshold",
    title="Threshold on a sigmoid",
    paper="Yang et al.: XMoE (2024), arXiv:2403.18926, in the manner of",
    opset=17,
    rule_text="Every expert whose sigmoid exceeds 0.5, weighted by it.",
    build=ruled("threshold", threshold, Thresholded, top_k=None),
    notes="Golden expert_ids has all experts, best first; kept says which of them count.",
    known_limits="k differs from token to token.",
)
add(
    name="variant-shared-gate",
    title="Shared expert with a scalar gate",
    paper="Qwen team: Qwen2-MoE (2024), arXiv:2407.10671",
    opset=17,
    rule_text=RENORMALIZED,
    build=lambda: vit(SharedGate),
    known_limits="The scalar gate is no router of one expert.",
)
add(
    name="variant-hierarchical",
    title="Two levels of gates",
    paper="Jordan, Jacobs: Hierarchical Mixtures of Experts (Neural Computation, 1994)",
    rule_text="A soft gate over two groups, and in each group a soft gate over its three experts.",
    opset=17,
    build=lambda: TinyViT([Mlp(DIM, HIDDEN), Hierarchical()], DIM),
    known_limits="An expert's weight is the product of two gates.",
)
