"""Swin-MoE (Liu et al. 2021, arXiv:2103.14030, with Tutel, arXiv:2206.03382): mixtures in a Swin transformer.

Attention within windows, shifted in every other block; patches merge between stages, so grids differ by layer. Every
other MLP is a mixture: softmax → top-k, optionally renormalised, with a linear or a cosine router (unit-length
projection of the token · unit-length expert vectors · exp(min(t, log 100))).
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from images import IMAGENET
from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Mlp

CLASSES, WINDOW = 10, 4


class LinearRouter(nn.Module):
    def __init__(self, dim: int, num_experts: int, top_k: int, grid: int):
        super().__init__()
        self.gate, self.top_k = gate_linear(dim, num_experts), top_k
        self.card = RouterCard(
            "softmax_then_top_k", num_experts, top_k, extra={"grid": {"rows": grid, "cols": grid, "prefix_tokens": 0}}
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, ids = probs.topk(self.top_k, dim=-1)
        return Routing(logits, probs, ids, weights)


class CosineRouter(nn.Module):
    """Weights renormalised where more than one expert is taken."""

    def __init__(self, dim: int, num_experts: int, top_k: int, grid: int):
        super().__init__()
        self.project, self.top_k = nn.Linear(dim, 16), top_k
        self.experts = nn.Parameter(torch.randn(num_experts, 16))
        self.temperature = nn.Parameter(torch.tensor([math.log(8.0)]))
        rule = "softmax_then_top_k" if top_k == 1 else "softmax_then_top_k_renormalized"
        self.card = RouterCard(
            rule, num_experts, top_k, extra={"grid": {"rows": grid, "cols": grid, "prefix_tokens": 0}}
        )

    def forward(self, x: Tensor) -> Routing:
        similarity = F.normalize(self.project(x), dim=-1) @ F.normalize(self.experts, dim=-1).t()
        logits = similarity * self.temperature.clamp(max=math.log(100.0)).exp()
        probs = logits.softmax(-1)
        weights, ids = probs.topk(self.top_k, dim=-1)
        if self.top_k > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(logits, probs, ids, weights)


class SwinMoeMlp(nn.Module):
    """Every assignment is put into its expert's buffer of T places: capacity that nothing overflows."""

    def __init__(self, dim: int, router: nn.Module, num_experts: int):
        super().__init__()
        self.router, self.num_experts = router, num_experts
        self.up, self.down = stacked(num_experts, dim, 2 * dim), stacked(num_experts, 2 * dim, dim)
        self.up_bias, self.down_bias = (
            nn.Parameter(torch.zeros(num_experts, 1, 2 * dim)),
            nn.Parameter(torch.zeros(num_experts, 1, dim)),
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        tokens, top_k = flat.shape[0], self.router.top_k
        routing = self.router(flat)
        chosen = F.one_hot(routing.expert_ids.t().reshape(-1), self.num_experts)
        place = ((chosen.cumsum(0) - 1) * chosen).sum(-1)
        slot = routing.expert_ids.t().reshape(-1) * tokens * top_k + place
        buffers = torch.zeros(self.num_experts * tokens * top_k, flat.shape[1]).index_copy(
            0, slot, flat.repeat(top_k, 1)
        )
        buffers = buffers.view(self.num_experts, tokens * top_k, -1)
        out = torch.baddbmm(self.down_bias, F.gelu(torch.baddbmm(self.up_bias, buffers, self.up)), self.down)
        each = out.flatten(0, 1)[slot].view(top_k, tokens, -1)
        return (each * routing.combine_weights.t()[:, :, None]).sum(0).view(x.shape)


class WindowAttention(nn.Module):
    """Attention inside windows of 4 × 4 patches, with learned relative positions; `shift` rolls the grid first."""

    def __init__(self, dim: int, heads: int, grid: int, shift: int):
        super().__init__()
        self.heads, self.grid, self.shift = heads, grid, shift
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.randn((2 * WINDOW - 1) ** 2, heads) * 0.1)
        at = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
        apart = (at[:, :, None] - at[:, None, :]) + WINDOW - 1
        self.register_buffer("relative", apart[0] * (2 * WINDOW - 1) + apart[1], persistent=False)
        self.register_buffer("mask", self.shift_mask(), persistent=False)

    def shift_mask(self) -> Tensor | None:
        """Patches that the roll brought together from opposite sides must not see each other."""
        if not self.shift:
            return None
        zone = torch.zeros(self.grid)
        zone[-WINDOW:], zone[-self.shift :] = 1, 2
        zones = to_windows((zone[:, None] * 3 + zone[None])[None, :, :, None])[..., 0]
        return (zones[:, None] != zones[:, :, None]).float()[:, None] * -100.0

    def forward(self, x: Tensor) -> Tensor:
        batch, _, dim = x.shape
        image = x.view(batch, self.grid, self.grid, dim)
        if self.shift:
            image = image.roll((-self.shift, -self.shift), (1, 2))
        windows = to_windows(image)
        q, k, v = (
            self.qkv(windows).view(-1, WINDOW**2, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        )
        scores = q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5 + self.bias[self.relative].permute(2, 0, 1)
        if self.mask is not None:
            scores = scores + self.mask.repeat(batch, 1, 1, 1)
        out = self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, WINDOW**2, dim))
        image = from_windows(out, self.grid)
        if self.shift:
            image = image.roll((self.shift, self.shift), (1, 2))
        return image.reshape(batch, -1, dim)


def to_windows(image: Tensor) -> Tensor:
    """[B, G, G, D] → [B · windows, 16, D]."""
    batch, grid, _, dim = image.shape
    cut = image.view(batch, grid // WINDOW, WINDOW, grid // WINDOW, WINDOW, dim)
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, WINDOW**2, dim)


def from_windows(windows: Tensor, grid: int) -> Tensor:
    """The way back, to [B, G, G, D]."""
    side = grid // WINDOW
    cut = windows.view(-1, side, side, WINDOW, WINDOW, windows.shape[-1])
    return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, grid, grid, windows.shape[-1])


class SwinBlock(nn.Module):
    def __init__(self, dim: int, grid: int, shift: int, mlp: nn.Module):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim), WindowAttention(dim, 2, grid, shift)
        self.norm2, self.mlp = nn.LayerNorm(dim), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """2 × 2 patches become one of twice the width."""

    def __init__(self, dim: int, grid: int):
        super().__init__()
        self.grid, self.norm, self.reduce = grid, nn.LayerNorm(4 * dim), nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        image = x.view(x.shape[0], self.grid, self.grid, -1)
        four = torch.cat([image[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduce(self.norm(four.flatten(1, 2)))


class SwinMoe(nn.Module):
    """Two stages of two blocks, 8 × 8 and 4 × 4 patches; the second MLP of each stage is a mixture."""

    def __init__(self, router, num_experts: int, top_k: int, dim: int = 16):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        first = SwinMoeMlp(dim, router(dim, num_experts, top_k, 8), num_experts)
        second = SwinMoeMlp(2 * dim, router(2 * dim, num_experts, top_k, 4), num_experts)
        self.stage1 = nn.Sequential(SwinBlock(dim, 8, 0, Mlp(dim, 2 * dim)), SwinBlock(dim, 8, 2, first))
        self.merge = PatchMerging(dim, 8)
        self.stage2 = nn.Sequential(SwinBlock(2 * dim, 4, 0, Mlp(2 * dim, 4 * dim)), SwinBlock(2 * dim, 4, 0, second))
        self.norm, self.head = nn.LayerNorm(2 * dim), nn.Linear(2 * dim, CLASSES)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values).flatten(2).transpose(1, 2)
        x = self.stage2(self.merge(self.stage1(x)))
        return self.head(self.norm(x).mean(1))


class WindowedBlock(SwinBlock):
    """Norm, MLP and attention all on windows: tokens reach the router window by window, and shifted."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        batch, _, dim = x.shape
        image = x.view(batch, self.attention.grid, self.attention.grid, dim)
        if self.attention.shift:
            image = image.roll((-self.attention.shift, -self.attention.shift), (1, 2))
        out = from_windows(self.mlp(self.norm2(to_windows(image))), self.attention.grid)
        if self.attention.shift:
            out = out.roll((self.attention.shift, self.attention.shift), (1, 2))
        return x + out.reshape(x.shape)


class WindowedMoe(nn.Module):
    """One stage of 8 × 8 patches; both MLPs are mixtures inside the windows."""

    def __init__(self, dim: int = 16, num_experts: int = 4):
        super().__init__()
        self.embed = nn.Conv2d(3, dim, 4, 4)
        blocks = []
        for shift in (0, 2):
            router = LinearRouter(dim, num_experts, 1, 8)
            router.card.extra["grid"] |= {"window": WINDOW, "shift": shift}
            blocks.append(WindowedBlock(dim, 8, shift, SwinMoeMlp(dim, router, num_experts)))
        self.blocks, self.norm, self.head = nn.Sequential(*blocks), nn.LayerNorm(dim), nn.Linear(dim, CLASSES)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.head(self.norm(self.blocks(self.embed(pixel_values).flatten(2).transpose(1, 2))).mean(1))


PAPER = "Liu et al.: Swin Transformer (ICCV 2021), arXiv:2103.14030; Hwang et al.: Tutel (MLSys 2023), arXiv:2206.03382"
TEXT = "Softmax over all experts, the best one with its probability."
GRID = {"rows": 8, "cols": 8, "prefix_tokens": 0}
LIMIT = "Grids differ by layer: 8 × 8, then 4 × 4."

add(
    name="swin-moe",
    title="Swin-MoE, linear router, top-1",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    grid=GRID,
    known_limits=LIMIT,
    normalisation=IMAGENET,
    build=lambda: SwinMoe(LinearRouter, 8, 1),
)
add(
    name="swin-moe-cosine",
    title="Swin-MoE, cosine router, top-2",
    paper=PAPER,
    opset=17,
    grid=GRID,
    known_limits=LIMIT,
    rule_text="Cosine of token and expert vectors × a temperature; softmax; the best two divided by their sum.",
    normalisation=IMAGENET,
    build=lambda: SwinMoe(CosineRouter, 8, 2),
)
add(
    name="swin-moe-cosine-dynamo",
    title="Swin-MoE, cosine router, top-1",
    paper=PAPER,
    exporter="dynamo",
    grid=GRID,
    known_limits=LIMIT,
    rule_text="Cosine of token and expert vectors × a temperature; softmax; the best one with its probability.",
    normalisation=IMAGENET,
    build=lambda: SwinMoe(CosineRouter, 4, 1),
)
add(
    name="windowed-moe",
    title="Mixtures inside shifted windows",
    paper=PAPER,
    rule_text=TEXT,
    opset=17,
    grid=GRID,
    normalisation=IMAGENET,
    build=WindowedMoe,
    notes="Golden tokens are in the order in which the router sees them: window by window, the 2nd "
    "layer rolled by 2 patches.",
    known_limits="Token order has to be undone: windows of 4 × 4, shift 2 in the 2nd layer.",
)
