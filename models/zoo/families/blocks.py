"""Rules and graphs that are rarer still: gates without a softmax, experts without weights, experts in one wide layer.

ReMoE (Wang et al. 2025): the gate's positive logits are the weights, and whatever is negative is not chosen.
MoE++ (Jin et al. 2025): some experts have no weights: they give nothing, or what they were given; constant ones mix a
vector of their own with that.
Mixture of heads (Jin et al. 2024): the experts are the heads of one attention, blocks of its last layer.
LoRA mixtures: low-rank experts beside a layer, all of them in two matrices.
Distances: the nearer an expert's vector, the more it counts.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.variants import DIM, EXPERTS, HIDDEN, TOP_K, Rule, softmax_top_k, vit
from routing import RouterCard, Routing
from row import add
from vit import Mlp, TinyViT

RENORMALIZED = "softmax_then_top_k_renormalized"
TEXT = "Softmax over all experts, the best two, divided by their sum."


def positive(logits: Tensor) -> Routing:
    """Golden ids have all experts, best first; kept says which of them count."""
    scores = logits.relu()
    ordered, ids = scores.sort(-1, descending=True)
    return Routing(logits, scores, ids, ordered, ordered > 0)


def of_everything(logits: Tensor) -> Routing:
    probs = logits.softmax(-1)
    return Routing(gate_logits=logits, gate_probs=probs, combine_weights=probs)


class Branches(nn.Module):
    """Every expert on every token, weighted by its column."""

    def __init__(self, router: nn.Module, num_experts: int = EXPERTS):
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(num_experts))

    def weights(self, routing: Routing) -> Tensor:
        return torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        weights = self.weights(self.router(flat))
        return sum(weights[:, e, None] * expert(flat) for e, expert in enumerate(self.experts)).view(x.shape)


class ReMoe(Branches):
    def __init__(self):
        super().__init__(Rule(RouterCard("threshold", EXPERTS, None), positive))

    def weights(self, routing: Routing) -> Tensor:
        return routing.gate_probs


class ReMoeLoop(ReMoe):
    """Each expert on the tokens whose weight is not zero."""

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        weights, out = self.router(flat).gate_probs, torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token = torch.nonzero(weights[:, e] > 0).squeeze(-1)
            out = out.index_add(0, token, weights[token, e, None] * expert(flat[token]))
        return out.view(x.shape)


class MoePlusPlus(nn.Module):
    """Four networks, then one expert that gives nothing and one that copies."""

    def __init__(self):
        super().__init__()
        self.router = Rule(RouterCard(RENORMALIZED, EXPERTS, TOP_K), softmax_top_k)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS - 2))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing, out = self.router(flat), torch.zeros_like(flat)
        for e in [*range(EXPERTS - 2), EXPERTS - 1]:
            token, rank = torch.where(routing.expert_ids == e)
            rows = flat[token]
            each = self.experts[e](rows) if e < EXPERTS - 2 else rows
            out = out.index_add(0, token, each * routing.combine_weights[token, rank, None])
        return out.view(x.shape)


class Constant(nn.Module):
    """α₁ x + α₂ v, α = softmax(W x)."""

    def __init__(self):
        super().__init__()
        self.vector, self.alpha = nn.Parameter(torch.randn(DIM)), nn.Linear(DIM, 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha(x).softmax(-1)
        return alpha[:, :1] * x + alpha[:, 1:] * self.vector


class MoePlusPlusConstant(MoePlusPlus):
    """Three networks, one expert that gives nothing, one that copies, and a constant one."""

    def __init__(self):
        super().__init__()
        self.experts = nn.ModuleList([Mlp(DIM, HIDDEN), Mlp(DIM, HIDDEN), Mlp(DIM, HIDDEN), nn.Identity(), Constant()])
        self.numbers = [0, 1, 2, 4, 5]

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing, out = self.router(flat), torch.zeros_like(flat)
        for e, expert in zip(self.numbers, self.experts, strict=True):
            token, rank = torch.where(routing.expert_ids == e)
            out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
        return out.view(x.shape)


class HeadsAttention(nn.Module):
    """The best three of six heads, weighted by their probabilities, before the output layer."""

    def __init__(self, heads: int = 6, top_k: int = 3):
        super().__init__()
        self.heads, self.top_k = heads, top_k
        self.qkv, self.out = nn.Linear(DIM, 3 * DIM), nn.Linear(DIM, DIM)
        self.router = Rule(RouterCard("softmax_then_top_k", heads, top_k), self.choose)

    def choose(self, logits: Tensor) -> Routing:
        probs = logits.softmax(-1)
        weights, ids = probs.topk(self.top_k, dim=-1)
        return Routing(logits, probs, ids, weights)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        heads = ((q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5).softmax(-1) @ v).transpose(1, 2)
        routing = self.router(x.reshape(-1, dim))
        table = torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)
        return self.out((heads * table.view(batch, tokens, self.heads, 1)).reshape(batch, tokens, dim))


class LowRank(nn.Module):
    """A layer with E low-rank experts beside it, whose matrices lie side by side: A [D, E · r], B [E · r, D]."""

    def __init__(self, rank: int = 4):
        super().__init__()
        self.rank = rank
        self.base, self.down = nn.Linear(DIM, DIM), nn.Linear(DIM, EXPERTS * rank, bias=False)
        self.up = nn.Linear(EXPERTS * rank, DIM, bias=False)
        self.router = Rule(RouterCard("soft", EXPERTS, None), of_everything)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        weights = self.router(flat).combine_weights
        inner = self.down(flat).view(-1, EXPERTS, self.rank) * weights[..., None]
        return (self.base(flat) + self.up(inner.flatten(1))).view(x.shape)


class Nearest(nn.Module):
    """Minus the squared distance to each expert's vector, written out."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.randn(EXPERTS, DIM))
        self.card = RouterCard(RENORMALIZED, EXPERTS, TOP_K)

    def forward(self, x: Tensor) -> Routing:
        return softmax_top_k(-((x[:, None] - self.centres) ** 2).sum(-1) / DIM**0.5)


def with_heads() -> nn.Module:
    model = TinyViT([Mlp(DIM, HIDDEN), Mlp(DIM, HIDDEN)], DIM)
    for block in model.blocks:
        block.attention = HeadsAttention()
    return model


REMOE = "Wang, Zhu, Chen: ReMoE (ICLR 2025), arXiv:2412.14711"
RELU = "Every expert whose logit is positive, weighted by it."
add(
    name="remoe",
    title="ReLU routing",
    paper=REMOE,
    rule_text=RELU,
    opset=17,
    build=lambda: vit(ReMoe),
    notes="Golden expert_ids has all experts, best first; kept says which of them count.",
    known_limits="k differs from token to token.",
)
add(
    name="remoe-loop-dynamo",
    title="ReLU routing, a loop over experts",
    paper=REMOE,
    rule_text=RELU,
    exporter="dynamo",
    build=lambda: vit(ReMoeLoop),
    notes="Golden expert_ids has all experts, best first; kept says which of them count.",
    known_limits="k differs from token to token.",
)
add(
    name="moe-plus-plus",
    title="Experts without weights",
    paper="Jin et al.: MoE++ (ICLR 2025), arXiv:2410.07348",
    rule_text=TEXT,
    opset=17,
    build=lambda: vit(MoePlusPlus),
    notes="Experts 0 to 3 are networks, 4 gives nothing, 5 copies.",
    known_limits="The expert that gives nothing is nowhere in the graph.",
)
for suffix, exporter, opset in (("", "torchscript", 17), ("-dynamo", "dynamo", None)):
    add(
        name="moe-plus-plus-constant" + suffix,
        title="Constant experts, " + exporter,
        paper="Jin et al.: MoE++ (ICLR 2025), arXiv:2410.07348",
        rule_text=TEXT,
        exporter=exporter,
        opset=opset,
        build=lambda: vit(MoePlusPlusConstant),
        notes="Experts 0 to 2 are networks, 3 gives nothing, 4 copies, 5 mixes a vector with what it is given.",
        known_limits="The expert that gives nothing is nowhere in the graph.",
    )
add(
    name="mixture-of-heads",
    title="The heads of an attention as experts",
    paper="Jin et al.: MoH: Multi-Head Attention as Mixture-of-Head Attention (2024), arXiv:2410.11842, without shared heads",
    rule_text="Softmax over the heads, the best three with their probabilities.",
    opset=17,
    build=with_heads,
)
add(
    name="mixture-of-lora-dynamo",
    title="Low-rank experts in two matrices",
    paper="Wu et al.: MoLE: Mixture of LoRA Experts (ICLR 2024), arXiv:2404.13628, in the manner of",
    rule_text="Softmax over all experts, each of which is weighted.",
    exporter="dynamo",
    build=lambda: TinyViT([Mlp(DIM, HIDDEN), LowRank()], DIM),
)
add(
    name="variant-distance",
    title="Nearest expert vectors",
    paper="Riquelme et al.: V-MoE (NeurIPS 2021), arXiv:2106.05974",
    rule_text="Softmax over minus the squared distances to the experts' vectors, the best two, divided by their sum.",
    opset=17,
    build=lambda: vit(lambda: Branches(Nearest())),
)
