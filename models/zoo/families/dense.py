"""Models without any router, among them those whose graphs look as if they had one. A finder should find nothing.

SoViT (Alabdulmohsin et al. 2023, arXiv:2305.13035): a ViT of another shape, with an attention pooling head.
Selective kernels (Li et al. 2019): a softmax weighs two branches, but they are kernels of one layer, per channel.
Token pruning (DynamicViT, EViT): TopK over the tokens, one branch.
Vector quantisation (van den Oord et al. 2017): ArgMax and Gather from a codebook.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from row import add
from vit import Block, Mlp, PatchEmbed, TinyViT

DIM = 32


class SoViT(nn.Module):
    """Pooling by one learned query that attends to all tokens."""

    def __init__(self, depth: int = 4):
        super().__init__()
        self.embed = PatchEmbed(28, 4, DIM)
        self.blocks = nn.ModuleList(Block(DIM, 4, Mlp(DIM, 48)) for _ in range(depth))
        self.query = nn.Parameter(torch.randn(1, 1, DIM))
        self.key_value, self.norm, self.mlp, self.head = (
            nn.Linear(DIM, 2 * DIM),
            nn.LayerNorm(DIM),
            Mlp(DIM, 48),
            nn.Linear(DIM, 10),
        )

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        keys, values = self.key_value(x).chunk(2, -1)
        pooled = (self.query @ keys.transpose(1, 2) / DIM**0.5).softmax(-1) @ values
        return self.head((pooled + self.mlp(self.norm(pooled)))[:, 0])


class SelectiveKernels(nn.Module):
    def __init__(self, channels: int = 16):
        super().__init__()
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.small, self.large = (
            nn.Conv2d(channels, channels, 3, 1, 1),
            nn.Conv2d(channels, channels, 3, 1, 2, dilation=2),
        )
        self.squeeze, self.excite = nn.Linear(channels, 8), nn.Linear(8, 2 * channels)
        self.head = nn.Linear(channels, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = F.relu(self.stem(pixel_values))
        small, large = F.relu(self.small(x)), F.relu(self.large(x))
        weights = self.excite(F.relu(self.squeeze((small + large).mean((2, 3))))).view(-1, 2, x.shape[1]).softmax(1)
        x = small * weights[:, 0, :, None, None] + large * weights[:, 1, :, None, None]
        return self.head(x.mean((2, 3)))


class SplitAttention(nn.Module):
    """Two groups of one convolution, weighted per channel by a softmax over the groups that reads their sum."""

    def __init__(self, channels: int = 16, groups: int = 2):
        super().__init__()
        self.groups = groups
        self.stem = nn.Conv2d(3, channels, 3, 2, 1)
        self.conv = nn.Conv2d(channels, channels * groups, 3, 1, 1, groups=groups)
        self.squeeze, self.excite = nn.Conv2d(channels, 8, 1), nn.Conv2d(8, channels * groups, 1)
        self.head = nn.Linear(channels, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = F.relu(self.stem(pixel_values))
        parts = F.relu(self.conv(x)).view(x.shape[0], self.groups, -1, *x.shape[2:])
        gate = self.excite(F.relu(self.squeeze(parts.sum(1).mean((2, 3), keepdim=True))))
        weights = gate.view(x.shape[0], self.groups, -1).softmax(1)
        return self.head((parts * weights[..., None, None]).sum(1).mean((2, 3)))


class Memory(nn.Module):
    """The five nearest of 64 remembered images vote with their classes and their features."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = PatchEmbed(32, 8, DIM), nn.Linear(DIM, 10)
        self.keys, self.values = nn.Parameter(torch.randn(64, DIM)), nn.Parameter(torch.randn(64, DIM))
        self.classes = nn.Parameter(torch.randn(64, 10))

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = F.normalize(self.embed(pixel_values).mean(1), dim=-1)
        near, ids = (x @ F.normalize(self.keys, dim=-1).t()).topk(5, dim=-1)
        votes = (near / 0.07).softmax(-1)[..., None]
        return (self.classes[ids] * votes).sum(1) + self.head((self.values[ids] * votes).sum(1))


class PrunedViT(TinyViT):
    """Half of the tokens go on: those with the largest learned score."""

    def __init__(self):
        super().__init__([Mlp(DIM, 48) for _ in range(3)], DIM)
        self.score = nn.Linear(DIM, 1)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.blocks[0](self.embed(pixel_values))
        score, kept = self.score(x)[..., 0].topk(8, dim=1)
        x = x.gather(1, kept[..., None].expand(-1, -1, DIM)) * score.sigmoid()[..., None]
        for block in self.blocks[1:]:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class QuantisedViT(TinyViT):
    """Tokens become their nearest code."""

    def __init__(self):
        super().__init__([Mlp(DIM, 48) for _ in range(2)], DIM)
        self.codes = nn.Embedding(64, DIM)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        distance = (x**2).sum(-1, keepdim=True) - 2 * x @ self.codes.weight.t() + (self.codes.weight**2).sum(-1)
        x = self.codes((-distance).argmax(-1))
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def add_dense(name: str, title: str, paper: str, text: str, build, **more) -> None:
    add(name=name, title=title, paper=paper, rule_text=text, build=build, **more)


SO_VIT = "Alabdulmohsin et al.: Getting ViT in Shape (NeurIPS 2023), arXiv:2305.13035"
add_dense(
    "dense-sovit",
    "SoViT-style ViT",
    SO_VIT,
    "No router.",
    SoViT,
    opset=17,
    image=28,
    grid={"rows": 7, "cols": 7, "prefix_tokens": 0},
)
add_dense(
    "dense-sovit-dynamo",
    "SoViT-style ViT",
    SO_VIT,
    "No router.",
    lambda: SoViT(2),
    exporter="dynamo",
    image=28,
    grid={"rows": 7, "cols": 7, "prefix_tokens": 0},
    dynamic_batch=True,
)
add_dense(
    "dense-selective-kernels",
    "Selective kernels",
    "Li et al.: Selective Kernel Networks (CVPR 2019), arXiv:1903.06586",
    "No router: a softmax per channel weighs two kernels of one layer.",
    SelectiveKernels,
    opset=17,
    grid={"rows": 16, "cols": 16, "prefix_tokens": 0},
)
add_dense(
    "dense-split-attention",
    "Split attention",
    "Zhang et al.: ResNeSt (CVPRW 2022), arXiv:2004.08955",
    "No router: a softmax per channel weighs two groups of one convolution, whose sum it reads.",
    SplitAttention,
    opset=17,
    grid={"rows": 16, "cols": 16, "prefix_tokens": 0},
)
add_dense(
    "dense-memory",
    "Nearest neighbours",
    "Khandelwal et al.: Nearest Neighbor Language Models (ICLR 2020), arXiv:1911.00172, in the manner of",
    "No router: TopK over remembered images, whose classes and features are looked up and weighted.",
    Memory,
    opset=17,
)
add_dense(
    "dense-token-pruning",
    "Token pruning",
    "Rao et al.: DynamicViT (NeurIPS 2021), arXiv:2106.02034",
    "No router: TopK over the tokens, one branch.",
    PrunedViT,
    opset=17,
)
add_dense(
    "dense-codebook",
    "Vector quantisation",
    "van den Oord et al.: VQ-VAE (NeurIPS 2017), arXiv:1711.00937",
    "No router: ArgMax over a codebook and Gather from it.",
    QuantisedViT,
    opset=17,
)
