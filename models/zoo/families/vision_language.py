"""A vision-language mixture: image tokens inside a text sequence, through a causal decoder with routed MLPs.

In the manner of LLaVA (Liu et al. 2023, arXiv:2304.08485) on a Mixtral-type language model, as DeepSeek-VL2 and others.
The prompt holds a placeholder for every image token; the projected patches take their places. Logits are those of the
next word after the prompt.
"""

import torch
from torch import Tensor, nn

from families.mixtral import SwiGlu, TopKSoftmaxRouter
from row import add
from vit import Block, Mlp, RmsNorm, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K, VOCABULARY, BEFORE, PATCHES, AFTER = 32, 24, 6, 2, 64, 3, 16, 7
PLACEHOLDER = VOCABULARY - 1


class DecoderMoe(nn.Module):
    def __init__(self):
        super().__init__()
        self.router = TopKSoftmaxRouter(DIM, EXPERTS, TOP_K)
        self.router.card.extra = {"modalities": {"text": [0, BEFORE], "image": [BEFORE, BEFORE + PATCHES]}}
        self.experts = nn.ModuleList(SwiGlu(DIM, HIDDEN) for _ in range(EXPERTS))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        table = torch.zeros_like(routing.gate_logits).scatter(1, routing.expert_ids, routing.combine_weights)
        return sum(table[:, e, None] * expert(flat) for e, expert in enumerate(self.experts)).view(x.shape)


class VisionTower(TinyViT):
    """Patch features instead of logits."""

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class VisionLanguage(nn.Module):
    def __init__(self):
        super().__init__()
        self.vision = VisionTower([Mlp(DIM, 48)], DIM, classes=DIM)
        self.words, self.positions = (
            nn.Embedding(VOCABULARY, DIM),
            nn.Parameter(torch.randn(1, BEFORE + PATCHES + AFTER, DIM) * 0.3),
        )
        self.blocks = nn.ModuleList(Block(DIM, 4, DecoderMoe(), RmsNorm, causal=True) for _ in range(2))
        self.norm, self.head = RmsNorm(DIM), nn.Linear(DIM, VOCABULARY, bias=False)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        words, image = self.words(input_ids), self.vision(pixel_values)
        is_image = (input_ids == PLACEHOLDER)[..., None].expand_as(words)
        x = words.masked_scatter(is_image, image) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x[:, -1]))


def prompt(index: int) -> dict[str, Tensor]:
    words = torch.randint(0, PLACEHOLDER, (1, BEFORE + AFTER), generator=torch.Generator().manual_seed(index))
    image = torch.full((1, PATCHES), PLACEHOLDER)
    return {"input_ids": torch.cat([words[:, :BEFORE], image, words[:, BEFORE:]], 1)}


for EXPORTER, NAME in (("torchscript", "vision-language"), ("dynamo", "vision-language-dynamo")):
    add(
        name=NAME,
        title=f"Vision-language mixture, {EXPORTER}",
        exporter=EXPORTER,
        opset=17 if EXPORTER == "torchscript" else None,
        paper="Liu et al.: LLaVA (NeurIPS 2023), arXiv:2304.08485, on Mixtral's decoder (arXiv:2401.04088)",
        rule_text="The two largest gate logits are kept; the combine weights are the softmax over those two.",
        more_inputs=prompt,
        build=VisionLanguage,
        grid={"rows": 4, "cols": 4, "prefix_tokens": BEFORE, "suffix_tokens": AFTER},
        notes=f"Tokens: {BEFORE} words, 16 patches, {AFTER} words. Word {PLACEHOLDER} stands for an image token.",
        known_limits="A second input (the prompt) is needed; where the image's tokens stand is known "
        "from the prompt only.",
    )
