"""Noisy top-k gating (Shazeer et al. 2017, arXiv:1701.06538).

H = xW + N(0, 1) · softplus(xWn); the k largest are kept, all others become −∞, then softmax. Outside of training
there is no noise, and Wn is not used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 32, 32, 6, 2


class NoisyTopKRouter(nn.Module):
    def __init__(self, noise: bool = False, spare: int = 0):
        super().__init__()
        self.spare = spare
        self.gate, self.noise_gate = gate_linear(DIM, EXPERTS), gate_linear(DIM, EXPERTS)
        self.noise = noise
        self.card = RouterCard("top_k_then_softmax", EXPERTS, TOP_K)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        if self.noise:
            logits = logits + torch.randn_like(logits) * F.softplus(self.noise_gate(x))
        kept, ids = logits.topk(TOP_K + self.spare, dim=-1)
        if self.spare:
            # In training the next best is the threshold of the load loss.
            kept, ids = kept[:, :TOP_K], ids[:, :TOP_K]
        return Routing(gate_logits=logits, expert_ids=ids, combine_weights=kept.softmax(-1))


class KeepTopK(nn.Module):
    """As the paper writes it: −∞ for the logits not kept, softmax over all E; every expert runs on every token."""

    def __init__(self, noise: bool = False):
        super().__init__()
        self.router = NoisyTopKRouter(noise)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        logits = routing.gate_logits
        kept = torch.full_like(logits, float("-inf")).scatter(
            1, routing.expert_ids, logits.gather(1, routing.expert_ids)
        )
        gates = kept.softmax(-1)
        out = sum(gates[:, e, None] * expert(flat) for e, expert in enumerate(self.experts))
        return out.view(x.shape)


class SparseGates(nn.Module):
    """Gates [T, E] that are zero but for k; an expert runs on the tokens whose gate is not zero."""

    def __init__(self, spare: int = 0):
        super().__init__()
        self.router = NoisyTopKRouter(spare=spare)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        gates = torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)
        out = torch.zeros_like(flat)
        for e in range(EXPERTS):
            mine = torch.nonzero(gates[:, e] > 0)[:, 0]
            each = F.relu(flat[mine] @ self.up[e]) @ self.down[e]
            out = out.index_add(0, mine, each * gates[mine, e, None])
        return out.view(x.shape)


PAPER = "Shazeer et al.: Outrageously Large Neural Networks (ICLR 2017), arXiv:1701.06538"
TEXT = "The k largest gate logits are kept, softmax over those; in training noise is added to the logits."

add(
    name="noisy-top-k",
    title="Noisy top-k gating, without noise",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    build=lambda: TinyViT([KeepTopK(), KeepTopK()], DIM),
    notes="All experts run on all tokens.",
)
add(
    name="noisy-top-k-sparse-dynamo",
    title="Noisy top-k gating, sparse",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    build=lambda: TinyViT([SparseGates(), SparseGates()], DIM),
)
add(
    name="noisy-top-k-spare",
    title="Noisy top-k gating, the next best cut off",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    build=lambda: TinyViT([SparseGates(spare=1), SparseGates(spare=1)], DIM),
    notes="TopK takes one more than k, which the load loss of training needs; a Slice cuts it off.",
)
add(
    name="noisy-top-k-noise",
    title="Noisy top-k gating, exported with its noise",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    random=True,
    build=lambda: TinyViT([KeepTopK(noise=True), KeepTopK(noise=True)], DIM),
    notes="A RandomNormalLike between gate and TopK: no two runs route alike, so the golden values are one draw.",
    known_limits="Cannot be compared with golden values.",
)
