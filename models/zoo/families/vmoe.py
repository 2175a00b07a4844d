"""V-MoE (Riquelme et al. 2021, arXiv:2106.05974).

softmax → top-k, not renormalised. Capacity is shared by a group of images, class tokens included:
ceil(S · k · C / E), rounded up to a multiple of 4. All first choices are placed before all second choices; batch
priority routing places tokens in the order of their largest gate. The noise of training is off.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN = 32, 32


class VmoeRouter(nn.Module):
    """Over groups [G, S, D]; the routing that it returns is flat, [G·S, …], in the order of the tokens."""

    def __init__(self, num_experts: int, top_k: int, groups: int, group_tokens: int, capacity_factor: float, bpr: bool):
        super().__init__()
        self.gate = gate_linear(DIM, num_experts)
        self.num_experts, self.top_k, self.bpr = num_experts, top_k, bpr
        self.capacity = 4 * math.ceil(math.ceil(group_tokens * top_k * capacity_factor / num_experts) / 4)
        priority = "batch_priority" if bpr else "first_come"
        self.card = RouterCard(
            "softmax_then_top_k",
            num_experts,
            top_k,
            capacity={
                "per_expert": self.capacity,
                "group_tokens": group_tokens,
                "groups": groups,
                "priority": priority,
            },
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, ids = probs.topk(self.top_k, dim=-1)
        kept = self.positions(ids, weights) < self.capacity
        return Routing(*(value.flatten(0, 1) for value in (logits, probs, ids, weights, kept)))

    def positions(self, ids: Tensor, weights: Tensor) -> Tensor:
        """Which place each assignment [G, S, k] gets in its expert's buffer, from 0."""
        groups, size, top_k = ids.shape
        if self.bpr:
            order = weights.amax(-1).argsort(dim=1, descending=True)
            ids = ids.gather(1, order[..., None].expand(-1, -1, top_k))
        by_rank = ids.transpose(1, 2).reshape(groups, top_k * size)
        place = F.one_hot(by_rank, self.num_experts).cumsum(1).gather(2, by_rank[..., None]) - 1
        place = place.view(groups, top_k, size).transpose(1, 2)
        if self.bpr:
            back = order.argsort(dim=1)
            place = place.gather(1, back[..., None].expand(-1, -1, top_k))
        return place


class VmoeMlp(nn.Module):
    """Dispatch [G, S, E, C] by one-hot products, experts on their buffers, combine with the gates."""

    def __init__(self, num_experts=8, top_k=2, groups=1, group_tokens=17, capacity_factor=1.0, bpr=True):
        super().__init__()
        self.groups = groups
        self.router = VmoeRouter(num_experts, top_k, groups, group_tokens, capacity_factor, bpr)
        self.up, self.down = stacked(num_experts, DIM, HIDDEN), stacked(num_experts, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        grouped = x.reshape(self.groups, -1, DIM)
        routing = self.router(grouped)
        ids, weights = (
            value.view(self.groups, -1, self.router.top_k) for value in (routing.expert_ids, routing.combine_weights)
        )
        place = self.router.positions(ids, weights)
        capacity = self.router.capacity
        slot = F.one_hot(place.clamp(max=capacity), capacity + 1)[..., :capacity].to(x.dtype)
        expert = F.one_hot(ids, self.router.num_experts).to(x.dtype)
        combine = torch.einsum("gsk,gske,gskc->gsec", weights, expert, slot)
        dispatch = (combine > 0).to(x.dtype)
        inner = F.gelu(torch.einsum("gsec,gsd,edh->gech", dispatch, grouped, self.up))
        out = torch.einsum("gsec,gech,ehd->gsd", combine, inner, self.down)
        return out.reshape(x.shape)


def every_other(**kind) -> nn.Module:
    mlps = [Mlp(DIM, HIDDEN), VmoeMlp(**kind), Mlp(DIM, HIDDEN), VmoeMlp(**kind)]
    return TinyViT(mlps, DIM, class_token=True)


PAPER = "Riquelme et al.: Scaling Vision with Sparse Mixture of Experts (NeurIPS 2021), arXiv:2106.05974"
TEXT = "Softmax over all experts, the best two with their probabilities, not renormalised; full experts drop the rest."
GRID = {"rows": 4, "cols": 4, "prefix_tokens": 1}

add(
    name="vmoe",
    title="V-MoE, top-2 with batch priority routing",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    grid=GRID,
    build=lambda: every_other(num_experts=8, capacity_factor=0.8),
    notes="Every 2nd block; class token routed too; group = 1 image of 17 tokens; capacity 4.",
    known_limits="The TopK over tokens of batch priority routing is no router.",
)
add(
    name="vmoe-groups",
    title="V-MoE, groups of two images",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    grid=GRID,
    batch=4,
    build=lambda: every_other(num_experts=4, groups=2, group_tokens=34, capacity_factor=0.5),
    notes="A batch of 4 images is baked in, two groups of 2: what one image gets depends on its neighbour.",
)
