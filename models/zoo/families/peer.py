"""PEER: parameter-efficient expert retrieval (He 2024, arXiv:2407.04153), a mixture of a million experts in the small.

n² experts of one neuron each. A query is cut in two halves; each half takes the k best of n sub-keys; of the k² sums
the k best are taken: expert i · n + j. softmax over those k. Several heads do this with their own queries and keys,
over the same experts, and are added.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing
from row import add
from vit import Mlp, TinyViT

DIM, SIDE, MILLION_SIDE, HEADS, TOP_K, KEY = 8, 64, 1024, 2, 4, 8


class ProductKeyRouter(nn.Module):
    """Tokens [T, D] → ids and weights [T, heads, k]."""

    def __init__(self, side: int):
        super().__init__()
        self.side = side
        self.query = nn.Linear(DIM, HEADS * 2 * KEY)
        self.norm = nn.LayerNorm(KEY)
        self.keys = nn.Parameter(torch.randn(HEADS, 2, side, KEY) / KEY**0.5)
        self.card = RouterCard("product_key", side * side, TOP_K, extra={"heads": HEADS, "side": side})

    def forward(self, x: Tensor) -> Routing:
        query = self.norm(self.query(x).view(-1, HEADS, 2, KEY))
        halves = torch.einsum("thsk,hsnk->thsn", query, self.keys)
        best, index = halves.topk(TOP_K, dim=-1)
        sums = (best[:, :, 0, :, None] + best[:, :, 1, None, :]).flatten(2)
        pairs = (index[:, :, 0, :, None] * self.side + index[:, :, 1, None, :]).flatten(2)
        scores, chosen = sums.topk(TOP_K, dim=-1)
        return Routing(expert_ids=pairs.gather(-1, chosen), combine_weights=scores.softmax(-1), half_logits=halves)


class Peer(nn.Module):
    def __init__(self, side: int = SIDE):
        super().__init__()
        self.router = ProductKeyRouter(side)
        self.down, self.up = nn.Embedding(side * side, DIM), nn.Embedding(side * side, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        inner = F.gelu(torch.einsum("td,thkd->thk", flat, self.down(routing.expert_ids)) / DIM**0.5)
        out = torch.einsum("thk,thkd->td", inner * routing.combine_weights, self.up(routing.expert_ids))
        return out.view(x.shape)


PAPER = "He: Mixture of A Million Experts (2024), arXiv:2407.04153"
TEXT = "The k best of n sub-keys for each half of a query, the k best of their k² sums, softmax over those; per head."
NOTES = (
    "64 × 64 = 4,096 experts, 2 heads. "
    "Golden expert_ids and combine_weights are [T, heads, k]; half_logits [T, heads, 2, n]."
)
LIMIT = "There are no probabilities over all n² experts: only sub-key scores and the k chosen."

add(
    name="peer",
    title="PEER, 4,096 experts",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    notes=NOTES,
    known_limits=LIMIT,
    build=lambda: TinyViT([Peer(), Mlp(DIM, 32), Peer()], DIM),
)
add(
    name="peer-dynamo",
    title="PEER, 4,096 experts, dynamo",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    notes=NOTES,
    known_limits=LIMIT,
    build=lambda: TinyViT([Mlp(DIM, 32), Peer()], DIM),
)
add(
    name="peer-million",
    title="PEER, 1,048,576 experts",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    generated=True,
    notes=NOTES.replace("64 × 64 = 4,096", "1024 × 1024 = 1,048,576"),
    known_limits=LIMIT,
    build=lambda: TinyViT([Mlp(DIM, 32), Peer(MILLION_SIDE)], DIM),
)
