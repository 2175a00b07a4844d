"""Experts with a limited number of places, as the libraries that brought mixtures to PyTorch fill them.

All share the rule softmax → top-2; they differ in who finds a place and in which tensors say so.

fairseq (Artetxe et al. 2022, arXiv:2112.10684; fairseq's `moe/top2gate.py`): two arg maxes with one-hot masks; a choice
beyond the capacity is struck out of its mask. With batch prioritized routing tokens are served by their largest gate.
Tutel (Hwang et al. 2023, arXiv:2206.03382; `tutel/impls/fast_dispatch.py`): a top-k taken apart into its ranks, whose
masks are counted one behind the other; tokens are scattered into flat buffers of E · C places.
DeepSpeed (`topkgating`, drop policy `position`): the masks of all ranks at once, in the order of the tokens.
Megatron-Core (`topk_softmax_with_capacity`, drop policy `probs`): each expert keeps those with the largest
probabilities.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS = 32, 32, 4
EPS = torch.finfo(torch.float32).eps


class LimitedRouter(nn.Module):
    """softmax → top-2, of which experts take `capacity` each."""

    def __init__(self, capacity: int, tokens: int = 16, priority: str = "first_come", renormalized: bool = True):
        super().__init__()
        self.gate, self.capacity, self.is_sorted = gate_linear(DIM, EXPERTS), capacity, priority == "batch_priority"
        self.card = RouterCard(
            "softmax_then_top_k_renormalized" if renormalized else "softmax_then_top_k",
            EXPERTS,
            2,
            capacity={"per_expert": capacity, "group_tokens": tokens, "groups": 1, "priority": priority},
        )

    def counted(self, mask: Tensor, probs: Tensor) -> Tensor:
        """How many tokens before each one chose the same expert [T, E]."""
        if not self.is_sorted:
            return mask.cumsum(0) - 1
        order = (-probs.max(1).values).argsort(0)
        return (mask[order].cumsum(0) - 1)[order.argsort(0)]


class FairseqRouter(LimitedRouter):
    """`normalize_first`: the two weights are divided by their sum before choices are struck out, else after."""

    def __init__(self, normalize_first: bool = False, **kind):
        super().__init__(**kind)
        self.normalize_first = normalize_first

    def one_hot(self, ids: Tensor, classes: int) -> Tensor:
        return torch.zeros(ids.shape[0], classes, dtype=torch.int64).scatter(1, ids, 1)

    def weights(self, probs: Tensor, masks: list[Tensor]) -> list[Tensor]:
        gates = [(probs * mask).sum(1) for mask in masks]
        total = (gates[0] + gates[1]).clamp(min=EPS)
        return [gate / total for gate in gates]

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(1)
        first = probs.argmax(1, keepdim=True)
        masks = [self.one_hot(first, EXPERTS)]
        second = logits.masked_fill(masks[0].bool(), float("-inf")).argmax(1, keepdim=True)
        masks.append(self.one_hot(second, EXPERTS))
        places = [self.counted(mask, probs) for mask in masks]
        places[1] = places[1] + masks[0].sum(0, keepdim=True)
        inside = [mask * (place < self.capacity) for mask, place in zip(masks, places)]
        gates = self.weights(probs, masks if self.normalize_first else inside)
        self.dispatch = [
            (gate, mask, self.one_hot((place * mask).sum(1, keepdim=True), self.capacity))
            for gate, mask, place in zip(gates, inside, places)
        ]
        kept = torch.stack([mask.sum(1) > 0 for mask in inside], 1)
        return Routing(logits, probs, torch.cat([first, second], 1), torch.stack(gates, 1), kept)


class Fairseq(nn.Module):
    """Combine [T, E, C] by batched products, dispatch by a flat product."""

    def __init__(self, **kind):
        super().__init__()
        self.router = FairseqRouter(**kind)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        self.router(flat)
        combine = sum(
            torch.bmm((gate[:, None] * mask)[:, :, None].float(), place[:, None, :].float())
            for gate, mask, place in self.router.dispatch
        )
        dispatch = combine.bool().float().view(flat.shape[0], -1)
        buffers = (dispatch.t() @ flat).view(EXPERTS, -1, DIM)
        out = torch.cat([expert(part[0]) for expert, part in zip(self.experts, buffers.chunk(EXPERTS))])
        return (combine.view(flat.shape[0], -1) @ out).view(x.shape)


class TutelRouter(LimitedRouter):
    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(1)
        ids = probs.topk(2, dim=1).indices
        ranks = [part.reshape(-1) for part in ids.chunk(2, dim=1)]
        masks = [F.one_hot(rank, EXPERTS) for rank in ranks]
        gates = [(probs * mask).sum(1) for mask in masks]
        before = 0
        places = []
        for mask in masks:
            places.append(((self.counted(mask, probs) + before) * mask).sum(1))
            before = before + mask.sum(0, keepdim=True)
        total = sum(gates).clamp(min=EPS)
        gates = [gate / total for gate in gates]
        self.dispatch = [(rank, place, gate) for rank, place, gate in zip(ranks, places, gates)]
        kept = torch.stack([place < self.capacity for place in places], 1)
        return Routing(logits, probs, ids, torch.stack(gates, 1), kept)


class Tutel(nn.Module):
    """Tokens are scattered into buffers [E · C, D]; what has no room goes into one place behind them."""

    def __init__(self, **kind):
        super().__init__()
        self.router = TutelRouter(**kind)
        self.up = nn.Parameter(torch.randn(EXPERTS, DIM, HIDDEN) / DIM**0.5)
        self.down = nn.Parameter(torch.randn(EXPERTS, HIDDEN, DIM) / HIDDEN**0.5)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        self.router(flat)
        capacity = self.router.capacity
        room = EXPERTS * capacity
        buffers = torch.zeros(room + 1, DIM)
        slots = []
        for rank, place, _ in self.router.dispatch:
            slots.append(torch.where(place < capacity, rank * capacity + place, room))
            buffers = buffers.index_add(0, slots[-1], flat)
        inner = F.gelu(buffers[:-1].view(EXPERTS, capacity, DIM) @ self.up)
        done = torch.cat([(inner @ self.down).view(room, DIM), torch.zeros(1, DIM)])
        gates = [gate for _, _, gate in self.router.dispatch]
        return sum(gate[:, None] * done[slot] for gate, slot in zip(gates, slots)).view(x.shape)


class DeepSpeedRouter(LimitedRouter):
    """The mask of all choices, from which what lies beyond the capacity is struck out."""

    def struck_out(self, logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        return mask * ((mask.cumsum(0) - 1) < self.capacity)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        ids = logits.topk(2, dim=1).indices
        probs = logits.softmax(1)
        mask = torch.zeros(probs.shape, dtype=torch.int64).scatter(1, ids, 1)
        self.inside = self.struck_out(probs, ids, mask)
        kept = probs * self.inside
        self.combine = kept / kept.sum(1, keepdim=True).clamp(min=EPS)
        return Routing(logits, probs, ids, self.combine.gather(1, ids), self.inside.gather(1, ids) > 0)


class DeepSpeed(nn.Module):
    def __init__(self, router: LimitedRouter):
        super().__init__()
        self.router = router
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        self.router(flat)
        inside, capacity = self.router.inside, self.router.capacity
        place = F.one_hot((inside.cumsum(0) - 1) * inside, capacity).float()
        combine = torch.einsum("se,sec->sec", self.router.combine, place)
        buffers = torch.einsum("sec,sm->ecm", combine.bool().float(), flat)
        out = torch.stack([expert(buffers[e]) for e, expert in enumerate(self.experts)])
        return torch.einsum("sec,ecm->sm", combine, out).view(x.shape)


class ScaledRouter(DeepSpeedRouter):
    """The capacity follows from the number of tokens while it runs, so that any number of images may come."""

    def struck_out(self, probs: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        tokens = torch.ones_like(probs[:, 0]).sum()
        capacity = torch.ceil(tokens / EXPERTS * 1.25).to(torch.int64)
        return mask * ((mask.cumsum(0) - 1) < capacity)


class DeepSpeedLoop(nn.Module):
    """A loop over the experts, each of which is given the tokens that it has room for."""

    def __init__(self):
        super().__init__()
        self.router = ScaledRouter(capacity=5)
        self.router.card.capacity |= {"per_expert": None, "group_tokens": None, "groups": None}
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        self.router(flat)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            mine = self.router.inside[:, e].nonzero()[:, 0]
            out = out.index_put((mine,), expert(flat[mine]) * self.router.combine[mine, e, None], accumulate=True)
        return out.view(x.shape)


class MegatronRouter(DeepSpeedRouter):
    def struck_out(self, probs: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
        best = (probs * mask).topk(self.capacity, dim=0, sorted=False).indices
        return mask * torch.zeros(mask.shape, dtype=torch.int64).scatter(0, best, 1)


def row(block, **fields) -> None:
    add(build=lambda: TinyViT([block(), block()], DIM), **fields)


FAIRSEQ = "Artetxe et al.: Efficient Large Scale Language Modeling with Mixtures of Experts (2022), arXiv:2112.10684"
TUTEL = "Hwang et al.: Tutel (MLSys 2023), arXiv:2206.03382"
AFTER = "Softmax, the best and the second best expert; weights divided by their sum after drops."
BEFORE = "Softmax, the best two divided by their sum; full experts drop the rest."

row(
    lambda: Fairseq(capacity=6),
    name="fairseq-moe",
    title="fairseq's top-2 gate",
    paper=FAIRSEQ,
    rule_text=AFTER,
    opset=17,
    notes="16 tokens, 4 experts with 6 places each; no noise, weights divided by their sum after drops.",
    known_limits="The choices are made one after the other; each is a tensor of its own.",
)
row(
    lambda: Fairseq(capacity=5, normalize_first=True, priority="batch_priority"),
    name="fairseq-moe-priority-dynamo",
    title="fairseq's top-2 gate, batch prioritized",
    paper=FAIRSEQ,
    rule_text=BEFORE,
    exporter="dynamo",
    notes="16 tokens, 4 experts with 5 places each, tokens with the largest gates first.",
    known_limits="The choices are made one after the other; each is a tensor of its own.",
)
row(
    lambda: Tutel(capacity=6),
    name="tutel",
    title="Tutel, flat buffers",
    paper=TUTEL,
    rule_text=BEFORE,
    opset=17,
    notes="16 tokens, 4 experts with 6 places each; tokens are scattered into 24 places.",
)
row(
    lambda: Tutel(capacity=5, priority="batch_priority"),
    name="tutel-priority-dynamo",
    title="Tutel, flat buffers, batch prioritized",
    paper=TUTEL,
    rule_text=BEFORE,
    exporter="dynamo",
    notes="16 tokens, 4 experts with 5 places each, tokens with the largest gates first.",
)
row(
    lambda: DeepSpeed(DeepSpeedRouter(capacity=6)),
    name="deepspeed-top-k",
    title="DeepSpeed's top-k gate, in the order of tokens",
    paper="Rajbhandari et al.: DeepSpeed-MoE (ICML 2022), arXiv:2201.05596",
    rule_text=AFTER,
    opset=17,
    notes="16 tokens, 4 experts with 6 places each; first and second choices are counted together.",
)
row(
    DeepSpeedLoop,
    name="deepspeed-any-batch",
    title="DeepSpeed's top-k gate, any number of images",
    paper="Rajbhandari et al.: DeepSpeed-MoE (ICML 2022), arXiv:2201.05596",
    rule_text=AFTER,
    opset=17,
    dynamic_batch=True,
    notes="ceil(1.25 T / 4) places for T tokens, computed in the graph.",
    known_limits="How many places there are is not fixed: drops are read from the mask.",
)
row(
    lambda: DeepSpeed(MegatronRouter(capacity=6, priority="batch_priority")),
    name="megatron-capacity-dynamo",
    title="Megatron-Core's capacity by probability",
    paper="Shoeybi et al.: Megatron-LM (2019), arXiv:1909.08053, with Megatron-Core's `topk_softmax_with_capacity`",
    rule_text=AFTER,
    exporter="dynamo",
    notes="16 tokens, 4 experts with 6 places each; every expert keeps the most probable of those that chose it.",
)
