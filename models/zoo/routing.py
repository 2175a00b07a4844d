"""What a router decides, and what is known of it beforehand: the two things that a row records of each router.

A router is any module with a `card` whose forward returns a `Routing`; `golden.py` hooks exactly those.
T tokens, E experts, k experts per token, C tokens per expert.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Routing(NamedTuple):
    """One call of a router. What a rule does not compute is None: nothing is added for the record's sake."""

    gate_logits: Tensor | None = None  # [T, E]
    gate_probs: Tensor | None = None  # [T, E], scores of all experts as the model computes them
    expert_ids: Tensor | None = None  # [T, k], best first
    combine_weights: Tensor | None = None  # [T, k] before drops; soft rules [T, E]; expert choice [E, C]
    kept: Tensor | None = None  # [T, k] bool, False where capacity (or a threshold) drops the assignment
    selection_scores: Tensor | None = (
        None  # [T, E], where experts are chosen by other scores than the weights come from
    )
    token_ids: Tensor | None = None  # [E, C], expert choice only
    dispatch: Tensor | None = None  # [T, E × slots], Soft MoE only
    combine: Tensor | None = None  # [T, E × slots], Soft MoE only
    half_logits: Tensor | None = None  # [T, heads, 2, n], product keys only
    places: Tensor | None = None  # [T, 2], row and column of each token in its grid, −1 for padding


@dataclass
class RouterCard:
    """What a finder should say of the router. Names and token counts are filled in when the row is made."""

    rule: str
    num_experts: int
    top_k: int | None
    per_image: bool = False
    selection_bias: bool = False
    groups: dict | None = None  # {"count", "kept"}: group-limited choice
    scale: float | None = None  # the factor on the combine weights
    capacity: dict | None = None  # {"per_expert", "group_tokens", "groups", "priority"}
    shared_experts: int = 0
    frozen: bool = False  # the export runs the experts of the traced image, whatever the router says
    extra: dict = field(default_factory=dict)  # what only this kind has: task, iteration, heads, slots, grid

    def as_json(self, name: str, tokens: int) -> dict:
        return {
            "name": name,
            "rule": self.rule,
            "num_experts": self.num_experts,
            "top_k": self.top_k,
            "tokens": tokens,
            "per_image": self.per_image,
            "selection_bias": self.selection_bias,
            "groups": self.groups,
            "scale": self.scale,
            "capacity": self.capacity,
            "shared_experts": self.shared_experts,
            "frozen": self.frozen,
            **self.extra,
        }


def gate_linear(dim: int, num_experts: int, bias: bool = False, spread: float = 2.0) -> nn.Linear:
    """The linear map to gate logits, with weights large enough that an untrained router tells tokens apart."""
    linear = nn.Linear(dim, num_experts, bias=bias)
    nn.init.normal_(linear.weight, std=spread / dim**0.5)
    if bias:
        nn.init.normal_(linear.bias, std=0.1)
    return linear


def stacked(num_experts: int, rows: int, cols: int) -> nn.Parameter:
    """Weights of all experts in one tensor [E, rows, cols]; `rows` is the side that is summed over."""
    return nn.Parameter(torch.randn(num_experts, rows, cols) / rows**0.5)
