"""GShard (Lepikhin et al. 2021, arXiv:2006.16668), as DeepSpeed runs it.

softmax over all experts; the best one by arg max, then the best of the others, each with places of its own: second
choices stand behind all first ones. What found no place weighs nothing, and the two weights are divided by their sum
after that. The second choice is not dropped at random outside of training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS, CAPACITY = 32, 32, 4, 8


class GShardRouter(nn.Module):
    def __init__(self, tokens: int):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        room = {"per_expert": CAPACITY, "group_tokens": tokens, "groups": 1, "priority": "first_come"}
        self.card = RouterCard("softmax_then_top_k_renormalized", EXPERTS, 2, capacity=room)

    def places(self, chosen: Tensor, before: Tensor | int) -> Tensor:
        return chosen.cumsum(0) - 1 + before

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(1)
        first = probs.argmax(1)
        mask1 = F.one_hot(first, EXPERTS)
        second = logits.masked_fill(mask1.bool(), float("-inf")).argmax(1)
        mask2 = F.one_hot(second, EXPERTS)
        places1, places2 = self.places(mask1, 0), self.places(mask2, mask1.sum(0, keepdim=True))
        mask1, mask2 = mask1 * (places1 < CAPACITY), mask2 * (places2 < CAPACITY)
        gates1, gates2 = (torch.einsum("te,te->t", probs, mask.float()) for mask in (mask1, mask2))
        total = (gates1 + gates2).clamp(min=1e-7)
        self.dispatch = [
            (gates / total, mask, (places * mask).sum(1))
            for gates, mask, places in ((gates1, mask1, places1), (gates2, mask2, places2))
        ]
        kept = torch.stack([mask1.sum(1) > 0, mask2.sum(1) > 0], 1)
        weights = torch.stack([gates1 / total, gates2 / total], 1)
        return Routing(logits, probs, torch.stack([first, second], 1), weights, kept)


class GShard(nn.Module):
    def __init__(self, tokens: int = 16):
        super().__init__()
        self.router = GShardRouter(tokens)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        self.router(flat)
        combine = sum(
            torch.einsum("te,tc->tec", gates[:, None] * mask, F.one_hot(place, CAPACITY).float())
            for gates, mask, place in self.router.dispatch
        )
        buffers = torch.einsum("tec,td->ecd", combine.bool().float(), flat)
        out = torch.stack([expert(buffers[e]) for e, expert in enumerate(self.experts)])
        return torch.einsum("tec,ecd->td", combine, out).view(x.shape)


add(
    name="gshard",
    title="GShard top-2, two arg maxes",
    paper="Lepikhin et al.: GShard (ICLR 2021), arXiv:2006.16668",
    rule_text="Softmax, the best and the second best expert; weights divided by their sum after drops.",
    opset=17,
    build=lambda: TinyViT([GShard(), GShard()], DIM),
    notes="As in DeepSpeed; 16 tokens, 4 experts with 8 places each.",
    known_limits="The choices are made one after the other; each is a tensor of its own.",
)
