"""The small vision transformer around the mixtures (Dosovitskiy et al. 2021): patches, pre-norm blocks, linear head."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Mlp(nn.Module):
    """Two linear maps with GELU between."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class RmsNorm(nn.Module):
    """x / rms(x) · weight, written out: the TorchScript exporter has no operator for it."""

    def __init__(self, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Attention(nn.Module):
    """Multi-head self-attention over [B, N, D]."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, causal: bool = False) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        scores = q @ k.transpose(-2, -1) * (dim // self.heads) ** -0.5
        if causal:
            scores = scores + torch.full((tokens, tokens), -1e9).triu(1)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Block(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)); `mlp` may be a mixture."""

    def __init__(self, dim: int, heads: int, mlp: nn.Module, norm=nn.LayerNorm, causal: bool = False):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = norm(dim), Attention(dim, heads), norm(dim), mlp
        self.causal = causal

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x), self.causal)
        return x + self.mlp(self.norm2(x))


class PatchEmbed(nn.Module):
    """Image [B, 3, H, W] → tokens [B, N, D], row-major, with positions and, where asked for, a class token before."""

    def __init__(self, image: int, patch: int, dim: int, class_token: bool = False):
        super().__init__()
        self.project = nn.Conv2d(3, dim, patch, patch)
        self.class_token = nn.Parameter(torch.randn(1, 1, dim)) if class_token else None
        self.positions = nn.Parameter(torch.randn(1, (image // patch) ** 2 + class_token, dim) * 0.3)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.project(pixel_values).flatten(2).transpose(1, 2)
        if self.class_token is not None:
            x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1)
        return x + self.positions


class TinyViT(nn.Module):
    """`mlps` gives each block's MLP; the class token or the mean of the patches goes to the head."""

    def __init__(
        self,
        mlps: list[nn.Module],
        dim=32,
        heads=4,
        image=32,
        patch=8,
        classes=10,
        class_token=False,
        norm=nn.LayerNorm,
    ):
        super().__init__()
        self.embed = PatchEmbed(image, patch, dim, class_token)
        self.blocks = nn.ModuleList(Block(dim, heads, mlp, norm) for mlp in mlps)
        self.norm, self.head = norm(dim), nn.Linear(dim, classes)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return self.head(x[:, 0] if self.embed.class_token is not None else x.mean(1))
