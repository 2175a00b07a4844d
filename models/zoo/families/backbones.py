"""Transfer-learning mixtures: several small pretrained backbones, a gate per image, a head for few examples.

After adaptive mixtures (Jacobs et al. 1991) with whole networks for experts, as used to combine backbones without
training them again. The head compares features with a prototype per class (Snell et al. 2017).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from families.adaptive_mixtures import ImageGate
from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Mlp, TinyViT

FEATURES, CLASSES = 24, 10


class ConvBackbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 24, 3, 2, 1), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x).mean((2, 3))


class MixerBackbone(nn.Module):
    """One MLP-Mixer block over 4 × 4 patches."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm1, self.norm2 = (
            nn.Conv2d(3, FEATURES, 8, 8),
            nn.LayerNorm(FEATURES),
            nn.LayerNorm(FEATURES),
        )
        self.tokens, self.channels = Mlp(16, 16), Mlp(FEATURES, 32)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = x + self.tokens(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return (x + self.channels(self.norm2(x))).mean(1)


class PrototypeHead(nn.Module):
    """Cosine similarity to the mean feature of each class's few examples, × 10."""

    def __init__(self):
        super().__init__()
        self.prototypes = nn.Parameter(torch.randn(CLASSES, FEATURES))

    def forward(self, x: Tensor) -> Tensor:
        return 10 * F.normalize(x, dim=-1) @ F.normalize(self.prototypes, dim=-1).t()


class TopBackbones(nn.Module):
    """softmax → the best two backbones, divided by their sum."""

    def __init__(self, features: int, count: int):
        super().__init__()
        self.linear = gate_linear(features, count, bias=True, spread=8.0)
        self.card = RouterCard("softmax_then_top_k_renormalized", count, 2, per_image=True)

    def forward(self, features: Tensor) -> Routing:
        logits = self.linear(features)
        probs = logits.softmax(-1)
        kept, ids = probs.topk(2, dim=-1)
        return Routing(logits, probs, ids, kept / kept.sum(-1, keepdim=True))


class BackboneMixture(nn.Module):
    """The gate reads a 4 × 4 pixel thumbnail; all backbones run."""

    def __init__(self, sparse: bool):
        super().__init__()
        vit = TinyViT([Mlp(16, 24)], 16, heads=2, classes=FEATURES)
        self.backbones = nn.ModuleList([ConvBackbone(), MixerBackbone(), vit])
        self.gate = TopBackbones(48, 3) if sparse else ImageGate(48, 3)
        self.head, self.sparse = PrototypeHead(), sparse

    def forward(self, pixel_values: Tensor) -> Tensor:
        routing = self.gate(F.adaptive_avg_pool2d(pixel_values, 4).flatten(1))
        features = torch.stack([backbone(pixel_values) for backbone in self.backbones], 1)
        if self.sparse:
            chosen = features.gather(1, routing.expert_ids[..., None].expand(-1, -1, FEATURES))
            return self.head((chosen * routing.combine_weights[..., None]).sum(1))
        return self.head((features * routing.combine_weights[..., None]).sum(1))


PAPER = (
    "Jacobs et al. 1991 with whole backbones for experts; "
    "Snell et al.: Prototypical Networks (NeurIPS 2017), arXiv:1703.05175"
)
GRID = {"rows": 1, "cols": 1, "prefix_tokens": 0}
LIMIT = "One decision per image: a bar, not a map. The experts are networks of different kinds."
add(
    name="backbone-mixture",
    title="Mixture of backbones, soft gate, low-shot head",
    paper=PAPER,
    opset=17,
    grid=GRID,
    known_limits=LIMIT,
    rule_text="One softmax gate per image over three backbones, all of them weighted.",
    build=lambda: BackboneMixture(False),
)
add(
    name="backbone-mixture-top2-dynamo",
    title="Mixture of backbones, best two, low-shot head",
    paper=PAPER,
    exporter="dynamo",
    grid=GRID,
    known_limits=LIMIT,
    rule_text="One softmax per image over three backbones, the best two divided by their sum.",
    build=lambda: BackboneMixture(True),
)
