"""The sparse layer: a linear router and narrow two-layer experts, in the place of a block's projection."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

# From gate logits [T, E] and k to (expert ids, combine weights), both [T, k].
Choice = Callable[[torch.Tensor, int], tuple[torch.Tensor, torch.Tensor]]


def softmax_of_top_k(logits: torch.Tensor, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The gating rule of Mixtral: keep the k best logits, softmax over those."""
    kept, ids = logits.topk(k, dim=-1)
    return ids, kept.softmax(-1)


def ban(expert: int) -> Choice:
    """The rule with one expert made unavailable."""

    def choose(logits: torch.Tensor, k: int):
        banned = torch.arange(logits.shape[-1]) == expert
        return softmax_of_top_k(logits.masked_fill(banned, float("-inf")), k)

    return choose


def random_choice(seed: int) -> Choice:
    """k different experts drawn blindly for every token, with the combine weights the router would have given."""
    generator = torch.Generator().manual_seed(seed)

    def choose(logits: torch.Tensor, k: int):
        weights = softmax_of_top_k(logits, k)[1]
        return torch.rand(logits.shape, generator=generator).topk(k, dim=-1)[1], weights

    return choose


@dataclass
class Routing:
    """What one layer decided: gate logits [T, E]; expert ids and combine weights [T, k], best first."""

    logits: torch.Tensor
    ids: torch.Tensor
    weights: torch.Tensor


class MoeProjection(nn.Module):
    """hidden → out by k of `num_experts` experts, each hidden → rank → ReLU → out.

    The experts' weights lie side by side: here all of them run, as two matrix products with a mask between; the
    exported graph runs an expert on its own tokens only. Both compute the same sum.
    """

    def __init__(self, hidden: int, out: int, num_experts: int, rank: int):
        super().__init__()
        self.num_experts, self.rank = num_experts, rank
        self.router = nn.Linear(hidden, num_experts)
        self.down = nn.Linear(hidden, num_experts * rank)
        self.up = nn.Parameter(torch.zeros(num_experts * rank, out))
        self.up_bias = nn.Parameter(torch.zeros(num_experts, out))
        self.choose: Choice = softmax_of_top_k
        self.routing: Routing | None = None

    def forward(self, tokens: torch.Tensor, k: int) -> torch.Tensor:
        """[T, hidden] → [T, out]; leaves the decisions in `self.routing`."""
        logits = self.router(tokens)
        ids, weights = self.choose(logits, k)
        self.routing = Routing(logits, ids, weights)
        gates = torch.zeros_like(logits).scatter(1, ids, weights)
        inner = F.relu(self.down(tokens)).view(-1, self.num_experts, self.rank)
        return (inner * gates[:, :, None]).flatten(1) @ self.up + gates @ self.up_bias
