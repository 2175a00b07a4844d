"""V-MoE with expert choice (Zhou et al. 2022, arXiv:2202.09368).

softmax over the experts, then each expert takes the C = ceil(T · k / E) tokens with the largest scores. A token is
taken by none, some or all experts.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS = 32, 32, 4


class ExpertChoiceRouter(nn.Module):
    """C tokens for each expert, the best first."""

    def __init__(self, tokens: int, mean_experts: int):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.capacity = math.ceil(tokens * mean_experts / EXPERTS)
        self.card = RouterCard(
            "expert_choice",
            EXPERTS,
            None,
            capacity={"per_expert": self.capacity, "group_tokens": tokens, "groups": 1, "priority": "expert_choice"},
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, tokens = probs.t().topk(self.capacity, dim=-1)
        return Routing(gate_logits=logits, gate_probs=probs, combine_weights=weights, token_ids=tokens)


class ExpertChoiceOneHot(nn.Module):
    """Dispatch by a one-hot product, as in the paper's equations."""

    def __init__(self, tokens: int, mean_experts: int):
        super().__init__()
        self.router = ExpertChoiceRouter(tokens, mean_experts)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        dispatch = F.one_hot(routing.token_ids, flat.shape[0]).to(flat.dtype)
        inner = F.gelu(torch.einsum("ect,td,edh->ech", dispatch, flat, self.up))
        out = torch.einsum("ect,ec,ech,ehd->td", dispatch, routing.combine_weights, inner, self.down)
        return out.view(x.shape)


class ExpertChoiceGather(nn.Module):
    """Dispatch by gathering tokens, combine by adding where they came from."""

    def __init__(self, tokens: int, mean_experts: int):
        super().__init__()
        self.router = ExpertChoiceRouter(tokens, mean_experts)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        taken = flat[routing.token_ids.flatten()].view(EXPERTS, -1, DIM)
        each = torch.bmm(F.gelu(torch.bmm(taken, self.up)), self.down) * routing.combine_weights[..., None]
        out = torch.zeros_like(flat).index_add(0, routing.token_ids.flatten(), each.flatten(0, 1))
        return out.view(x.shape)


PAPER = "Zhou et al.: Mixture-of-Experts with Expert Choice Routing (NeurIPS 2022), arXiv:2202.09368"
TEXT = "Softmax over the experts; each expert takes the tokens with the largest scores; a token gets 0 to E experts."
LIMIT = "There is no list of experts per token: it has to be turned round from the tokens per expert."

add(
    name="vmoe-expert-choice",
    title="V-MoE with expert choice",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    grid={"rows": 4, "cols": 4, "prefix_tokens": 1},
    known_limits=LIMIT,
    build=lambda: TinyViT(
        [Mlp(DIM, HIDDEN), ExpertChoiceOneHot(17, 1), Mlp(DIM, HIDDEN), ExpertChoiceOneHot(17, 1)],
        DIM,
        class_token=True,
    ),
    notes="Every 2nd block; 17 tokens with the class token; 5 tokens per expert.",
)
add(
    name="expert-choice-gather-dynamo",
    title="Expert choice, gathered tokens",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    known_limits=LIMIT,
    build=lambda: TinyViT([ExpertChoiceGather(16, 2), ExpertChoiceGather(16, 2)], DIM),
    notes="8 tokens per expert: 2 experts per token on average.",
)
