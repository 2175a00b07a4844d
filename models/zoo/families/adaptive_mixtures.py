"""Adaptive mixtures of local experts (Jacobs, Jordan, Nowlan, Hinton 1991).

One gate for the whole input: softmax of a linear map. Every expert sees the input, and the outputs are averaged with
the gate's weights.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add

EXPERTS, CLASSES = 4, 10


class ImageGate(nn.Module):
    """Features of an image [B, F] → weights of the experts [B, E]."""

    def __init__(self, features: int, num_experts: int, spread: float = 2.0):
        super().__init__()
        self.linear = gate_linear(features, num_experts, bias=True, spread=spread)
        self.card = RouterCard("soft", num_experts, None, per_image=True)

    def forward(self, features: Tensor) -> Routing:
        logits = self.linear(features)
        probs = logits.softmax(-1)
        return Routing(gate_logits=logits, gate_probs=probs, combine_weights=probs)


class LocalExperts(nn.Module):
    """Gate and experts see the image reduced to 8 × 8 pixels; each expert is a small network of its own."""

    def __init__(self):
        super().__init__()
        self.gate = ImageGate(192, EXPERTS)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Linear(192, 24), nn.Tanh(), nn.Linear(24, CLASSES)) for _ in range(EXPERTS)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = F.avg_pool2d(pixel_values, 4).flatten(1)
        weights = self.gate(x).combine_weights
        return sum(weights[:, e : e + 1] * expert(x) for e, expert in enumerate(self.experts))


class ConvExperts(nn.Module):
    """Experts are convolutional networks; their outputs are stacked and averaged in one product."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1)
        self.gate = ImageGate(8, EXPERTS, spread=12.0)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, CLASSES)
            )
            for _ in range(EXPERTS)
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = F.relu(self.stem(pixel_values))
        weights = self.gate(x.mean((2, 3))).combine_weights
        return torch.einsum("be,bec->bc", weights, torch.stack([expert(x) for expert in self.experts], 1))


PAPER = "Jacobs, Jordan, Nowlan, Hinton: Adaptive Mixtures of Local Experts (Neural Computation, 1991)"
TEXT = "One softmax gate per image; every expert runs, and their outputs are averaged with the gate's weights."
GRID = {"rows": 1, "cols": 1, "prefix_tokens": 0}

add(
    name="adaptive-mixtures",
    title="Adaptive mixtures of local experts",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    grid=GRID,
    build=LocalExperts,
    dynamic_batch=True,
    known_limits="One decision per image: a bar, not a map.",
)
add(
    name="adaptive-mixtures-conv-dynamo",
    title="Mixture of convolutional networks",
    paper=PAPER,
    rule_text=TEXT,
    exporter="dynamo",
    grid=GRID,
    build=ConvExperts,
    known_limits="One decision per image: a bar, not a map.",
)
