"""Detectors with mixtures in them: one in the manner of DETR (Carion et al. 2020), one in the manner of YOLO.

DETR: the encoder's tokens lie on the image, the decoder's are object queries; both have mixtures for MLPs. The
queries are chosen from the encoder's tokens by a TopK over tokens, which is no router.
YOLO: convolutional experts. One layer decides for the whole image from pooled features, another for each pixel of its
map by a linear map of that pixel. The last TopK picks boxes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Attention, Mlp

DIM, HIDDEN, EXPERTS, TOP_K, QUERIES, CLASSES = 32, 32, 4, 2, 10, 5


class DetectionRouter(nn.Module):
    """softmax → top-2, divided by their sum."""

    def __init__(self, dim: int, per_image: bool = False, grid: dict | None = None, spread: float = 2.0):
        super().__init__()
        self.gate = gate_linear(dim, EXPERTS, spread=spread)
        self.card = RouterCard(
            "softmax_then_top_k_renormalized", EXPERTS, TOP_K, per_image=per_image, extra={"grid": grid}
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        kept, ids = probs.topk(TOP_K, dim=-1)
        return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True))


def table(routing: Routing) -> Tensor:
    """Weights of all experts [T, E], zero for those not chosen."""
    return torch.zeros_like(routing.gate_probs).scatter(1, routing.expert_ids, routing.combine_weights)


class SparseMlp(nn.Module):
    def __init__(self, grid: dict | None):
        super().__init__()
        self.router = DetectionRouter(DIM, grid=grid)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        weights = table(self.router(flat))
        return sum(weights[:, e, None] * expert(flat) for e, expert in enumerate(self.experts)).view(x.shape)


class CrossAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key_value, self.out = nn.Linear(DIM, DIM), nn.Linear(DIM, 2 * DIM), nn.Linear(DIM, DIM)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        keys, values = self.key_value(memory).chunk(2, -1)
        return self.out((self.query(x) @ keys.transpose(1, 2) / DIM**0.5).softmax(-1) @ values)


class EncoderLayer(nn.Module):
    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.attention, self.norm1, self.mlp, self.norm2 = Attention(DIM, 4), nn.LayerNorm(DIM), mlp, nn.LayerNorm(DIM)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        return self.norm2(x + self.mlp(x))


class DecoderLayer(EncoderLayer):
    def __init__(self, mlp: nn.Module):
        super().__init__(mlp)
        self.cross, self.norm3 = CrossAttention(), nn.LayerNorm(DIM)

    def forward(self, x: Tensor, memory: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        x = self.norm3(x + self.cross(x, memory))
        return self.norm2(x + self.mlp(x))


class DetrMoe(nn.Module):
    """8 × 8 tokens, 10 queries; outputs class logits (the last class is "nothing") and boxes (cx, cy, w, h) in 0…1."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, DIM, 3, 2, 1))
        self.positions = nn.Parameter(torch.randn(1, 64, DIM) * 0.3)
        grid = {"rows": 8, "cols": 8, "prefix_tokens": 0}
        self.encoder = nn.ModuleList([EncoderLayer(Mlp(DIM, HIDDEN)), EncoderLayer(SparseMlp(grid))])
        self.objectness, self.query = nn.Linear(DIM, CLASSES + 1), nn.Parameter(torch.randn(1, QUERIES, DIM))
        self.decoder = nn.ModuleList(DecoderLayer(SparseMlp({"queries": QUERIES})) for _ in range(2))
        self.classify, self.box = nn.Linear(DIM, CLASSES + 1), nn.Linear(DIM, 4)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.stem(pixel_values).flatten(2).transpose(1, 2) + self.positions
        for layer in self.encoder:
            memory = layer(memory)
        best = self.objectness(memory).amax(-1).topk(QUERIES, dim=1).indices
        x = self.query + memory.gather(1, best[..., None].expand(-1, -1, DIM))
        for layer in self.decoder:
            x = layer(x, memory)
        return self.classify(x), self.box(x).sigmoid()


class ImageConvMoe(nn.Module):
    """One decision per image; all convolutional experts run, and two of them count."""

    def __init__(self, channels: int):
        super().__init__()
        self.router = DetectionRouter(channels, per_image=True, spread=16.0)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, kernel, 1, kernel // 2, groups=channels),
                nn.SiLU(),
                nn.Conv2d(channels, channels, 1),
            )
            for kernel in (3, 3, 5, 5)
        )

    def forward(self, x: Tensor) -> Tensor:
        weights = table(self.router(x.mean((2, 3))))
        return x + sum(weights[:, e, None, None, None] * expert(x) for e, expert in enumerate(self.experts))


class PixelConvMoe(nn.Module):
    """A decision per pixel of the map; experts are stacked [B, E, C, H, W] and summed with the weights [B, E, 1, H,
    W]."""

    def __init__(self, channels: int, grid: int):
        super().__init__()
        self.router = DetectionRouter(channels, grid={"rows": grid, "cols": grid, "prefix_tokens": 0}, spread=6.0)
        self.experts = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channels, channels, 3, 1, 1), nn.SiLU()) for _ in range(EXPERTS)
        )

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        weights = table(self.router(x.permute(0, 2, 3, 1).reshape(-1, channels)))
        weights = weights.view(batch, height, width, EXPERTS).permute(0, 3, 1, 2)[:, :, None]
        return x + (torch.stack([expert(x) for expert in self.experts], 1) * weights).sum(1)


class YoloMoe(nn.Module):
    """Two scales; output [B, 10, 6]: x1, y1, x2, y2 in pixels, score, class of the 10 best boxes."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.SiLU(), nn.Conv2d(12, 16, 3, 2, 1), nn.SiLU())
        self.first, self.second = PixelConvMoe(16, 8), ImageConvMoe(16)
        self.down = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1), nn.SiLU())
        self.heads = nn.ModuleList(nn.Conv2d(16, 4 + CLASSES, 1) for _ in range(2))
        centres = [
            torch.stack(torch.meshgrid(*[torch.arange(side) + 0.5] * 2, indexing="ij")[::-1]).flatten(1) * 32 / side
            for side in (8, 4)
        ]
        self.register_buffer("centres", torch.cat(centres, 1).t()[None], persistent=False)

    def forward(self, pixel_values: Tensor) -> Tensor:
        fine = self.first(self.stem(pixel_values))
        coarse = self.second(self.down(fine))
        raw = torch.cat([head(x).flatten(2) for head, x in zip(self.heads, (fine, coarse), strict=True)], 2).transpose(
            1, 2
        )
        sides = F.softplus(raw[..., :4]) * 8
        boxes = torch.cat([self.centres - sides[..., :2], self.centres + sides[..., 2:]], -1)
        score, label = raw[..., 4:].sigmoid().max(-1)
        best, index = score.topk(QUERIES, dim=1)
        picked = boxes.gather(1, index[..., None].expand(-1, -1, 4))
        return torch.cat([picked, best[..., None], label.gather(1, index)[..., None].to(boxes.dtype)], -1)


DETR = "Carion et al.: DETR (ECCV 2020), arXiv:2005.12872, with mixtures for MLPs"
YOLO = "Redmon et al.: YOLO (CVPR 2016), arXiv:1506.02640, with convolutional mixtures"
TEXT = "Softmax over all experts, the best two divided by their sum."
GRID = {"rows": 8, "cols": 8, "prefix_tokens": 0}
for EXPORTER, SUFFIX in (("torchscript", ""), ("dynamo", "-dynamo")):
    OPSET = 17 if EXPORTER == "torchscript" else None
    add(
        name=f"detr-moe{SUFFIX}",
        title=f"DETR with mixtures, {EXPORTER}",
        paper=DETR,
        rule_text=TEXT,
        exporter=EXPORTER,
        opset=OPSET,
        outputs=["logits", "pred_boxes"],
        grid=GRID,
        build=DetrMoe,
        notes="The encoder's router sees 64 tokens of the image, the decoder's two see 10 object queries.",
        known_limits="Queries have no place on the image but their boxes.",
    )
    add(
        name=f"yolo-moe{SUFFIX}",
        title=f"YOLO-style detector with convolutional experts, {EXPORTER}",
        paper=YOLO,
        rule_text=TEXT,
        exporter=EXPORTER,
        opset=OPSET,
        outputs=["detections"],
        grid=GRID,
        build=YoloMoe,
        notes="The first router decides for each pixel of an 8 × 8 map, the second for the whole image.",
        known_limits="Convolutional experts see their surroundings: a pixel's expert reads more than this pixel.",
    )
