"""CondConv (Yang et al. 2019, arXiv:1904.04971): the gate of an image mixes convolution kernels.

A sigmoid per kernel. Weights are mixed, not outputs, so there are no expert branches.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add


class KernelMixture(nn.Module):
    """CondConv (Yang et al. 2019): the gate of an image mixes convolution kernels, so there are no expert branches."""

    def __init__(self, channels: int):
        super().__init__()
        self.router = KernelGate(channels)
        self.kernels = nn.Parameter(torch.randn(4, channels, channels, 3, 3) / (9 * channels) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        weights = self.router(x.mean((2, 3))).combine_weights
        kernel = (weights @ self.kernels.flatten(1)).view(batch * channels, channels, 3, 3)
        out = F.conv2d(x.reshape(1, batch * channels, height, width), kernel, padding=1, groups=batch)
        return F.relu(out.view(x.shape))


class KernelGate(nn.Module):
    """A sigmoid per kernel."""

    def __init__(self, channels: int):
        super().__init__()
        self.gate, self.card = (
            gate_linear(channels, 4, bias=True, spread=16.0),
            RouterCard("other", 4, None, per_image=True),
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        weights = logits.sigmoid()
        return Routing(gate_logits=logits, gate_probs=weights, combine_weights=weights)


class CondConvNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.down = nn.Conv2d(3, 12, 3, 2, 1), nn.Conv2d(12, 16, 3, 2, 1)
        self.first, self.second, self.head = KernelMixture(12), KernelMixture(16), nn.Linear(16, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.second(F.relu(self.down(self.first(F.relu(self.stem(pixel_values))))))
        return self.head(x.mean((2, 3)))


add(
    name="variant-kernel-mixture",
    title="Convolution kernels mixed by a gate (CondConv)",
    opset=17,
    build=CondConvNet,
    paper="Yang et al.: CondConv (NeurIPS 2019), arXiv:1904.04971",
    grid={"rows": 1, "cols": 1, "prefix_tokens": 0},
    rule_text="A sigmoid per kernel and image; the kernels' weighted sum convolves.",
    known_limits="One decision per image, and no expert branches: weights are mixed, not outputs.",
)
