"""LIMoE (Mustafa et al. 2022, arXiv:2206.02770): one transformer for images and texts, V-MoE's router over both.

The tokens of an image and of the texts go through the same blocks; each attends within its own image or text, and
the mixtures route all of them together. Trained contrastively: the outputs are unit-length vectors of image and texts,
and their products × a temperature. Here the texts are prompts, so the products are class logits.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Attention, Mlp, PatchEmbed

DIM, HIDDEN, EXPERTS, TEXTS, LENGTH, VOCABULARY, PATCHES = 32, 24, 8, 4, 6, 50, 16


class LimoeRouter(nn.Module):
    """softmax → top-1 with first-come capacity over image and text tokens."""

    def __init__(self, capacity: int):
        super().__init__()
        tokens = PATCHES + TEXTS * LENGTH
        self.gate, self.capacity = gate_linear(DIM, EXPERTS), capacity
        self.card = RouterCard(
            "softmax_then_top_k",
            EXPERTS,
            1,
            capacity={"per_expert": capacity, "group_tokens": tokens, "groups": 1, "priority": "batch_priority"},
            extra={
                "grid": {"rows": 4, "cols": 4, "prefix_tokens": 0, "suffix_tokens": TEXTS * LENGTH},
                "modalities": {"image": [0, PATCHES], "text": [PATCHES, tokens]},
            },
        )

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, ids = probs.topk(1, dim=-1)
        order = weights[:, 0].argsort(descending=True)
        place = F.one_hot(ids[order, 0], EXPERTS).cumsum(0).gather(1, ids[order])
        return Routing(logits, probs, ids, weights, place[order.argsort()] <= self.capacity)


class LimoeMlp(nn.Module):
    """An assignment that finds its expert full has weight 0."""

    def __init__(self, capacity: int = 7):
        super().__init__()
        self.router = LimoeRouter(capacity)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, flat: Tensor) -> Tensor:
        routing = self.router(flat)
        weights = routing.combine_weights * routing.kept
        table = F.one_hot(routing.expert_ids[:, 0], EXPERTS) * weights
        inner = F.gelu(torch.einsum("td,edh->eth", flat, self.up))
        return torch.einsum("te,eth,ehd->td", table, inner, self.down)


class LimoeBlock(nn.Module):
    def __init__(self, mlp: nn.Module):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = nn.LayerNorm(DIM), Attention(DIM, 4), nn.LayerNorm(DIM), mlp

    def forward(self, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        image = image + self.attention(self.norm1(image))
        text = text + self.attention(self.norm1(text))
        both = torch.cat([image.reshape(-1, DIM), text.reshape(-1, DIM)])
        both = both + self.mlp(self.norm2(both))
        return both[: image.shape[1]].view(image.shape), both[image.shape[1] :].view(text.shape)


class Limoe(nn.Module):
    """One image, four prompts."""

    def __init__(self):
        super().__init__()
        self.embed = PatchEmbed(32, 8, DIM)
        self.words, self.positions = nn.Embedding(VOCABULARY, DIM), nn.Parameter(torch.randn(1, LENGTH, DIM) * 0.3)
        self.blocks = nn.ModuleList(
            LimoeBlock(mlp) for mlp in (Mlp(DIM, HIDDEN), LimoeMlp(), Mlp(DIM, HIDDEN), LimoeMlp())
        )
        self.norm, self.image_head, self.text_head = nn.LayerNorm(DIM), nn.Linear(DIM, 16), nn.Linear(DIM, 16)
        self.temperature = nn.Parameter(torch.tensor(2.3))

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        image, text = self.embed(pixel_values), self.words(input_ids) + self.positions
        for block in self.blocks:
            image, text = block(image, text)
        image = F.normalize(self.image_head(self.norm(image).mean(1)), dim=-1)
        text = F.normalize(self.text_head(self.norm(text).mean(1)), dim=-1)
        return image @ text.t() * self.temperature.exp(), image, text


def prompts(index: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(index)
    return {"input_ids": torch.randint(0, VOCABULARY, (TEXTS, LENGTH), generator=generator)}


for EXPORTER, NAME in (("torchscript", "limoe"), ("dynamo", "limoe-dynamo")):
    add(
        name=NAME,
        title=f"LIMoE, image and text, {EXPORTER}",
        exporter=EXPORTER,
        opset=17 if EXPORTER == "torchscript" else None,
        paper="Mustafa et al.: LIMoE (NeurIPS 2022), arXiv:2206.02770",
        rule_text="Softmax over all experts, the best one with its probability, over image and text "
        "tokens together; full experts drop.",
        outputs=["logits_per_image", "image_embeds", "text_embeds"],
        more_inputs=prompts,
        build=Limoe,
        grid={"rows": 4, "cols": 4, "prefix_tokens": 0, "suffix_tokens": TEXTS * LENGTH},
        notes="Tokens: 16 of the image, then 4 prompts of 6. Blocks 1 and 3 are mixtures; 7 tokens per expert.",
        known_limits="A second input (token ids) is needed; only the first 16 tokens lie on the image.",
    )
