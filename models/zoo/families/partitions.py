"""Maps cut into groups of patches in other ways than windows that divide them.

MaxViT (Tu et al. 2022): block attention within windows, then grid attention among patches that lie apart, evenly spread
over the map. Swin (Liu et al. 2021) on a map that its windows do not divide: zeros are added on the right and at the
bottom, all of it is rolled and cut, and the zeros are cropped at the end; inside, they are tokens like any other.

The truth about places is not written down twice: row and column of each patch go through the same function that cuts
the features, and what comes out stands in golden.npz.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.swin_moe import SwinMoeMlp
from images import IMAGENET
from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Block

CLASSES, DIM, SIDE, EXPERTS, TOP_K = 10, 16, 4, 4, 2


class PlacedRouter(nn.Module):
    """softmax → top-2, divided by their sum; `places` [T, 2] are row and column of each token, −1 for padding."""

    def __init__(self, places: Tensor):
        super().__init__()
        self.gate, self.top_k = gate_linear(DIM, EXPERTS), TOP_K
        self.card = RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K, extra={"grid": grid_of(places)})
        self.register_buffer("places", places, persistent=False)

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        kept, ids = probs.topk(TOP_K, dim=-1)
        return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True), places=self.places)


def grid_of(places: Tensor) -> dict:
    rows, cols = (places.amax(0) + 1).tolist()
    padding = int((places[:, 0] < 0).sum())
    return {"rows": rows, "cols": cols, "prefix_tokens": 0, "padding_tokens": padding}


def places_of(cut, rows: int, cols: int) -> Tensor:
    """Row and column of each token that `cut` makes of a map [1, rows, cols, …]; what it adds is zero, and becomes −1."""
    at = torch.stack(torch.meshgrid(torch.arange(rows), torch.arange(cols), indexing="ij"), -1)
    return cut((at[None] + 1).float()).reshape(-1, 2).long() - 1


class Cut(nn.Module):
    """Attention and a mixture inside the groups that `cut` makes of the map [B, H, W, D], which `join` undoes."""

    def __init__(self, rows: int, cols: int):
        super().__init__()
        self.rows, self.cols = rows, cols
        places = places_of(self.cut, rows, cols)
        self.block = Block(DIM, 2, SwinMoeMlp(DIM, PlacedRouter(places), EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.block(self.cut(x)))


def windows(x: Tensor) -> Tensor:
    """[B, H, W, D] → [B · windows, 16, D], windows of 4 × 4."""
    batch, rows, cols, dim = x.shape
    x = x.view(batch, rows // SIDE, SIDE, cols // SIDE, SIDE, dim)
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, SIDE * SIDE, dim)


def from_windows(x: Tensor, rows: int, cols: int) -> Tensor:
    x = x.view(-1, rows // SIDE, cols // SIDE, SIDE, SIDE, x.shape[-1])
    return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, rows, cols, x.shape[-1])


class BlockCut(Cut):
    """MaxViT's block attention."""

    def __init__(self, rows: int, cols: int):
        super().__init__(rows, cols)
        self.block.mlp.router.card.extra["grid"] |= {"window": SIDE, "shift": 0}

    def cut(self, x: Tensor) -> Tensor:
        return windows(x)

    def join(self, x: Tensor) -> Tensor:
        return from_windows(x, self.rows, self.cols)


class GridCut(Cut):
    """MaxViT's grid attention: a group has 4 × 4 patches, a quarter of the map apart."""

    def cut(self, x: Tensor) -> Tensor:
        batch, rows, cols, dim = x.shape
        x = x.view(batch, SIDE, rows // SIDE, SIDE, cols // SIDE, dim)
        return x.permute(0, 2, 4, 1, 3, 5).reshape(-1, SIDE * SIDE, dim)

    def join(self, x: Tensor) -> Tensor:
        x = x.view(-1, self.rows // SIDE, self.cols // SIDE, SIDE, SIDE, x.shape[-1])
        return x.permute(0, 3, 1, 4, 2, 5).reshape(-1, self.rows, self.cols, x.shape[-1])


class SwappedGridCut(Cut):
    """The same groups in the manner of torchvision: windows of a quarter of the map, and then the axes of windows and of
    patches inside them change places."""

    def cut(self, x: Tensor) -> Tensor:
        x = x.permute(0, 3, 1, 2)
        batch, dim, rows, cols = x.shape
        high, wide = rows // SIDE, cols // SIDE
        x = x.reshape(batch, dim, SIDE, high, SIDE, wide).permute(0, 2, 4, 3, 5, 1)
        x = x.reshape(batch, SIDE * SIDE, high * wide, dim)
        return torch.swapaxes(x, -2, -3).reshape(batch * high * wide, SIDE * SIDE, dim)

    def join(self, x: Tensor) -> Tensor:
        high, wide, dim = self.rows // SIDE, self.cols // SIDE, x.shape[-1]
        x = torch.swapaxes(x.reshape(-1, high * wide, SIDE * SIDE, dim), -2, -3)
        x = x.reshape(-1, SIDE, SIDE, high, wide, dim).permute(0, 5, 1, 3, 2, 4)
        return x.reshape(-1, dim, self.rows, self.cols).permute(0, 2, 3, 1)


class PaddedCut(Cut):
    """Swin's windows on a map that they do not divide."""

    def __init__(self, rows: int, cols: int, shift: int):
        self.shift = shift
        self.pad_rows, self.pad_cols = -rows % SIDE, -cols % SIDE
        super().__init__(rows, cols)

    def cut(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, self.pad_cols, 0, self.pad_rows))
        return windows(x.roll((-self.shift, -self.shift), (1, 2)) if self.shift else x)

    def join(self, x: Tensor) -> Tensor:
        x = from_windows(x, self.rows + self.pad_rows, self.cols + self.pad_cols)
        x = x.roll((self.shift, self.shift), (1, 2)) if self.shift else x
        return x[:, : self.rows, : self.cols]


class RowMajor(Cut):
    """Every patch of the map, row by row: what is left of the padding once it is cropped."""

    def cut(self, x: Tensor) -> Tensor:
        return x.flatten(1, 2)

    def join(self, x: Tensor) -> Tensor:
        return x.view(-1, self.rows, self.cols, x.shape[-1])


class MbConv(nn.Module):
    """Inverted bottleneck with squeeze and excitation, stride 1."""

    def __init__(self, dim: int):
        super().__init__()
        self.expand, self.depthwise = nn.Conv2d(dim, 2 * dim, 1), nn.Conv2d(2 * dim, 2 * dim, 3, 1, 1, groups=2 * dim)
        self.squeeze, self.excite = nn.Conv2d(2 * dim, 4, 1), nn.Conv2d(4, 2 * dim, 1)
        self.project = nn.Conv2d(2 * dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.gelu(self.depthwise(F.gelu(self.expand(x))))
        scale = self.excite(F.silu(self.squeeze(h.mean((2, 3), keepdim=True)))).sigmoid()
        return x + self.project(h * scale)


class Partitioned(nn.Module):
    """A map of patches of 4 × 4 pixels, convolved where asked for, through the given blocks to a linear head."""

    def __init__(self, blocks: list[nn.Module], conv: bool):
        super().__init__()
        self.embed = nn.Sequential(nn.Conv2d(3, DIM, 3, 2, 1), nn.GELU(), nn.Conv2d(DIM, DIM, 3, 2, 1))
        self.conv = MbConv(DIM) if conv else nn.Identity()
        self.blocks, self.norm, self.head = nn.Sequential(*blocks), nn.LayerNorm(DIM), nn.Linear(DIM, CLASSES)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.conv(self.embed(pixel_values)).permute(0, 2, 3, 1)
        return self.head(self.norm(self.blocks(x)).mean((1, 2)))


TEXT = "Softmax over all experts, the best two, divided by their sum."
MAXVIT = "Tu et al.: MaxViT (ECCV 2022), arXiv:2204.01697, with mixtures for MLPs"
SWIN = "Liu et al.: Swin Transformer (ICCV 2021), arXiv:2103.14030, with mixtures inside padded windows"

add(
    name="maxvit-moe",
    title="MaxViT, mixtures in block and grid attention",
    paper=MAXVIT,
    rule_text=TEXT,
    opset=17,
    image=48,
    grid={"rows": 12, "cols": 12, "prefix_tokens": 0},
    normalisation=IMAGENET,
    build=lambda: Partitioned([BlockCut(12, 12), GridCut(12, 12)], True),
    known_limits="Token order has to be undone: windows in the 1st layer, patches that lie apart in the 2nd.",
)
add(
    name="maxvit-moe-dynamo",
    title="MaxViT, mixtures in block and grid attention, in the manner of torchvision",
    paper=MAXVIT,
    rule_text=TEXT,
    exporter="dynamo",
    image=48,
    grid={"rows": 12, "cols": 12, "prefix_tokens": 0},
    normalisation=IMAGENET,
    build=lambda: Partitioned([BlockCut(12, 12), SwappedGridCut(12, 12)], True),
    known_limits="Token order has to be undone: windows in the 1st layer, patches that lie apart in the 2nd.",
)
for EXPORTER, SUFFIX in (("torchscript", ""), ("dynamo", "-dynamo")):
    add(
        name=f"swin-moe-padded{SUFFIX}",
        seed=3,
        title=f"Mixtures inside padded windows, {EXPORTER}",
        paper=SWIN,
        rule_text=TEXT,
        exporter=EXPORTER,
        opset=17 if EXPORTER == "torchscript" else None,
        image=40,
        grid={"rows": 10, "cols": 10, "prefix_tokens": 0},
        normalisation=IMAGENET,
        build=lambda: Partitioned([PaddedCut(10, 10, 0), PaddedCut(10, 10, 2), RowMajor(10, 10)], False),
        known_limits="44 of the 144 tokens of the first two layers are padding: counted apart and not drawn.",
    )
