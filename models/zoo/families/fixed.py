"""Experts that no gate chooses.

Multiway (VLMo: Bao et al. 2022, arXiv:2111.02358; BEiT-3: Wang et al. 2023, arXiv:2208.10442): a network for each kind
of tokens, which stand one behind the other. Types (CogVLM: Wang et al. 2023, arXiv:2311.03079): the same, but an input
says which kind a token is of. Hash layers (Roller et al. 2021, arXiv:2106.04426): a table of random numbers says which
expert an id goes to; here ids are those of visual tokens, as BEiT has them, and come as an input.
Dense beside the experts (Arctic, Snowflake 2024): the gate chooses, and a dense network runs beside on every token.
"""

import torch
from torch import Tensor, nn

from families.variants import DIM, EXPERTS, HIDDEN, TOP_K, Rule, softmax_top_k
from routing import RouterCard
from row import add
from vit import Attention, Block, Mlp, PatchEmbed

PATCHES, WORDS, IDS = 16, 8, 40


class Multiway(nn.Module):
    """As BEiT-3 has it: split where the text begins, and put together again."""

    def __init__(self):
        super().__init__()
        self.image, self.text = Mlp(DIM, HIDDEN), Mlp(DIM, HIDDEN)

    def forward(self, x: Tensor) -> Tensor:
        image, text = torch.split(x, [PATCHES, x.size(1) - PATCHES], dim=1)
        return torch.cat([self.image(image), self.text(text)], dim=1)


class ByNumber(nn.Module):
    """Each expert on the tokens that have its number; `numbers` [T] are set before a run."""

    def __init__(self, num_experts: int):
        super().__init__()
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(num_experts))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        out = torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token = torch.where(self.numbers == e)[0]
            out = out.index_put((token,), expert(flat[token]))
        return out.view(x.shape)


class WithWords(nn.Module):
    """Patches, then words."""

    def __init__(self):
        super().__init__()
        self.embed, self.words = PatchEmbed(32, 8, DIM), nn.Embedding(IDS, DIM)
        self.blocks = nn.ModuleList(Block(DIM, 4, Multiway()) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

    def forward(self, pixel_values: Tensor, input_ids: Tensor) -> Tensor:
        x = torch.cat([self.embed(pixel_values), self.words(input_ids)], 1)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


class ByInput(nn.Module):
    """Patches with a number each: their type, or, with a table, the id of a visual token."""

    def __init__(self, num_experts: int, table: bool):
        super().__init__()
        self.embed = PatchEmbed(32, 8, DIM)
        self.blocks = nn.ModuleList(Block(DIM, 4, ByNumber(num_experts)) for _ in range(2))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)
        self.register_buffer("table", torch.randint(num_experts, (IDS,)) if table else None)

    def forward(self, pixel_values: Tensor, numbers: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            block.mlp.numbers = (numbers if self.table is None else self.table[numbers]).reshape(-1)
            x = block(x)
        return self.head(self.norm(x).mean(1))


class ArcticBlock(nn.Module):
    """The experts read the data before attention, a dense network those after it; both are added."""

    def __init__(self):
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(DIM) for _ in range(3))
        self.attention, self.dense = Attention(DIM, 4), Mlp(DIM, 2 * HIDDEN)
        card = RouterCard("softmax_then_top_k_renormalized", EXPERTS, TOP_K, shared_experts=1)
        self.router = Rule(card, softmax_top_k)
        self.experts = nn.ModuleList(Mlp(DIM, HIDDEN) for _ in range(EXPERTS))

    def mixture(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing, out = self.router(flat), torch.zeros_like(flat)
        for e, expert in enumerate(self.experts):
            token, rank = torch.where(routing.expert_ids == e)
            out = out.index_add(0, token, expert(flat[token]) * routing.combine_weights[token, rank, None])
        return out.view(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        after = x + self.attention(self.norm1(x))
        dense = after + self.dense(self.norm2(after))
        return dense + self.mixture(self.norm3(x))


class Arctic(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = PatchEmbed(32, 8, DIM)
        self.blocks = nn.ModuleList(ArcticBlock() for _ in range(2))
        self.norm, self.head = nn.LayerNorm(DIM), nn.Linear(DIM, 10)

    def forward(self, pixel_values: Tensor) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


def numbers(name: str, count: int, below: int):
    """An input of whole numbers, another for each input index."""
    draw = lambda index: torch.randint(below, (1, count), generator=torch.Generator().manual_seed(index))
    return lambda index: {name: draw(index)}


for exporter, opset, suffix in (("torchscript", 17, ""), ("dynamo", None, "-dynamo")):
    common = {"exporter": exporter, "opset": opset}
    add(
        name="multiway" + suffix,
        title="An expert for each modality, " + exporter,
        paper="Wang et al.: Image as a Foreign Language (CVPR 2023), arXiv:2208.10442; VLMo, arXiv:2111.02358",
        rule_text="No gate: patches go to one expert, words to the other.",
        build=WithWords,
        more_inputs=numbers("input_ids", WORDS, IDS),
        fixed=[{"kind": "position", "experts": 2}] * 2,
        known_limits="There is no gate: nothing differs from image to image.",
        **common,
    )
    add(
        name="token-types" + suffix,
        title="An expert for each type of tokens, " + exporter,
        paper="Wang et al.: CogVLM (2023), arXiv:2311.03079, in the manner of",
        rule_text="No gate: an input says which of three experts a token takes.",
        build=lambda: ByInput(3, table=False),
        more_inputs=numbers("token_type_ids", PATCHES, 3),
        fixed=[{"kind": "input", "experts": 3}] * 2,
        known_limits="There is no gate: what is shown follows from an input.",
        **common,
    )
    add(
        name="hash-layer" + suffix,
        title="Hash layer, " + exporter,
        paper="Roller et al.: Hash Layers For Large Sparse Models (NeurIPS 2021), arXiv:2106.04426",
        rule_text="No gate: a table says which of four experts the id of a token goes to.",
        build=lambda: ByInput(4, table=True),
        more_inputs=numbers("visual_tokens", PATCHES, IDS),
        fixed=[{"kind": "table", "experts": 4}] * 2,
        known_limits="There is no gate: what is shown follows from an input and a table.",
        **common,
    )
    add(
        name="arctic" + suffix,
        title="A dense network beside the experts, " + exporter,
        paper="Snowflake: Arctic (2024), github.com/Snowflake-Labs/snowflake-arctic",
        rule_text="Softmax over all experts, the best two, divided by their sum; a dense network is added.",
        build=Arctic,
        notes="The experts read the data before attention, the dense network those after it.",
        **common,
    )
