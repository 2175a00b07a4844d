"""V-MoE (Riquelme et al. 2021, arXiv:2106.05974) in PyTorch, filled from the published Flax parameters.

Written from the paper and from what the published code computes at inference: pre-norm blocks, GELU by its tanh
approximation, routers without noise, softmax → top-k without renormalising, capacity per group of tokens, and what
experts receive and return rounded to bfloat16.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Settings:
    """What the parameters do not tell; the defaults are those of the published configurations."""

    top_k: int = 2
    capacity_factor: float = 1.05
    group_images: int = 1  # images whose tokens share the capacity
    batch_priority: bool = False
    bfloat16: bool = True  # round what experts receive and return


class Attention(nn.Module):
    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        weights = (q * (dim // self.heads) ** -0.5 @ k.transpose(2, 3)).softmax(-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, tokens, dim))


class Mlp(nn.Module):
    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.up, self.down = nn.Linear(dim, hidden), nn.Linear(hidden, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x), approximate="tanh"))


class SparseMlp(nn.Module):
    """The mixture. `routing` is what it did last: gate probabilities [T, E], experts and combine weights [T, k]."""

    def __init__(self, dim: int, hidden: int, num_experts: int, tokens: int, settings: Settings):
        super().__init__()
        self.settings, self.num_experts = settings, num_experts
        self.group_size = tokens * settings.group_images
        exact = math.ceil(self.group_size * settings.top_k * settings.capacity_factor / num_experts)
        self.capacity = 4 * math.ceil(exact / 4)
        self.gate = nn.Linear(dim, num_experts, bias=False)
        self.up, self.up_bias = empty(num_experts, dim, hidden), empty(num_experts, 1, hidden)
        self.down, self.down_bias = empty(num_experts, hidden, dim), empty(num_experts, 1, dim)
        self.routing: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        groups = x.reshape(-1, self.group_size, x.shape[-1])
        probs = self.gate(groups).softmax(-1)
        weights, ids = probs.topk(self.settings.top_k, dim=-1)
        place = self.places(ids, weights)
        weights = weights * (place < self.capacity)
        self.routing = tuple(value.flatten(0, 1) for value in (probs, ids, weights))

        slot = F.one_hot(place.clamp(max=self.capacity), self.capacity + 1)[..., : self.capacity].to(x.dtype)
        expert = F.one_hot(ids, self.num_experts).to(x.dtype)
        dispatch = torch.einsum("gske,gskc->gsec", expert, slot)
        received = torch.einsum("gsec,gsd->gecd", dispatch, self.rounded(groups))
        inner = F.gelu(received @ self.up + self.up_bias, approximate="tanh")
        returned = self.rounded(inner @ self.down + self.down_bias)
        combine = torch.einsum("gsk,gske,gskc->gsec", weights, expert, slot)
        return torch.einsum("gsec,gecd->gsd", combine, returned).reshape(x.shape)

    def places(self, ids: Tensor, weights: Tensor) -> Tensor:
        """The place of each assignment [G, S, k] in its expert's buffer: all first choices, then all second choices."""
        groups, size, top_k = ids.shape
        if self.settings.batch_priority:
            order = weights[..., 0].argsort(dim=1, descending=True)
            ids = ids.gather(1, order[..., None].expand(-1, -1, top_k))
        by_rank = ids.transpose(1, 2).reshape(groups, -1)
        place = F.one_hot(by_rank, self.num_experts).cumsum(1).gather(2, by_rank[..., None])[..., 0] - 1
        place = place.view(groups, top_k, size).transpose(1, 2)
        if self.settings.batch_priority:
            place = place.gather(1, order.argsort(dim=1)[..., None].expand(-1, -1, top_k))
        return place

    def rounded(self, x: Tensor) -> Tensor:
        return x.to(torch.bfloat16).to(x.dtype) if self.settings.bfloat16 else x


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, mlp: nn.Module):
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(dim, eps=1e-6), Attention(dim, heads)
        self.norm2, self.mlp = nn.LayerNorm(dim, eps=1e-6), mlp

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VisionTransformerMoe(nn.Module):
    """Image [B, 3, H, W] in −1…1 → logits, then the routing of every mixture."""

    def __init__(self, embed: nn.Conv2d, tokens: int, blocks: list[Block], classes: int, pre_logits: bool):
        super().__init__()
        dim = embed.out_channels
        self.embed, self.blocks = embed, nn.ModuleList(blocks)
        self.class_token, self.positions = empty(1, 1, dim), empty(1, tokens, dim)
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.pre_logits = nn.Linear(dim, dim) if pre_logits else None
        self.head = nn.Linear(dim, classes)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        x = self.embed(pixel_values).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)[:, 0]
        if self.pre_logits is not None:
            x = self.pre_logits(x).tanh()
        return self.head(x), *(value for mlp in self.mixtures() for value in mlp.routing)

    def mixtures(self) -> list[SparseMlp]:
        return [block.mlp for block in self.blocks if isinstance(block.mlp, SparseMlp)]


def empty(*shape: int) -> nn.Parameter:
    """A parameter whose values come from the checkpoint."""
    return nn.Parameter(torch.empty(*shape))


def from_flax(params: dict, settings: Settings) -> VisionTransformerMoe:
    """Builds the network that the parameters' shapes describe, and fills it."""
    encoder = params["Encoder"]
    height, width, _, dim = params["embedding"]["kernel"].shape
    tokens = encoder["posembed_input"]["pos_embedding"].shape[1]
    count = sum(name.startswith("encoderblock_") for name in encoder)
    blocks = [block_from(encoder[f"encoderblock_{i}"], dim, tokens, settings) for i in range(count)]
    embed = nn.Conv2d(3, dim, (height, width), (height, width))
    model = VisionTransformerMoe(embed, tokens, blocks, params["head"]["bias"].shape[0], "pre_logits" in params)
    put(embed.weight, params["embedding"]["kernel"].transpose(3, 2, 0, 1))
    put(embed.bias, params["embedding"]["bias"])
    put(model.class_token, params["cls"])
    put(model.positions, encoder["posembed_input"]["pos_embedding"])
    put_norm(model.norm, encoder["encoder_norm"])
    put_linear(model.head, params["head"])
    if model.pre_logits is not None:
        put_linear(model.pre_logits, params["pre_logits"])
    return model.eval()


def block_from(params: dict, dim: int, tokens: int, settings: Settings) -> Block:
    attention = params["SelfAttention"]
    if "Moe" in params:
        experts = params["Moe"]["Mlp"]
        num_experts, _, hidden = experts["Dense_0"]["kernel"].shape
        mlp = SparseMlp(dim, hidden, num_experts, tokens, settings)
        put(mlp.gate.weight, params["Moe"]["Router"]["dense"]["kernel"].T)
        put(mlp.up, experts["Dense_0"]["kernel"])
        put(mlp.up_bias, experts["Dense_0"]["bias"][:, None])
        put(mlp.down, experts["Dense_1"]["kernel"])
        put(mlp.down_bias, experts["Dense_1"]["bias"][:, None])
    else:
        mlp = Mlp(dim, params["Mlp"]["Dense_0"]["kernel"].shape[1])
        put_linear(mlp.up, params["Mlp"]["Dense_0"])
        put_linear(mlp.down, params["Mlp"]["Dense_1"])
    block = Block(dim, attention["query"]["kernel"].shape[1], mlp)
    for name in ("query", "key", "value"):
        put_linear(
            getattr(block.attention, name),
            {key: value.reshape(*(dim, dim)[: 1 + (key == "kernel")]) for key, value in attention[name].items()},
        )
    put_linear(
        block.attention.out, {"kernel": attention["out"]["kernel"].reshape(dim, dim), "bias": attention["out"]["bias"]}
    )
    put_norm(block.norm1, params["LayerNorm_0"])
    put_norm(block.norm2, params["LayerNorm_1"])
    return block


def put(parameter: nn.Parameter, values: np.ndarray) -> None:
    if tuple(parameter.shape) != values.shape:
        raise ValueError(f"the checkpoint has {values.shape} where the network has {tuple(parameter.shape)}")
    parameter.data = torch.from_numpy(np.array(values, np.float32, order="C"))


def put_linear(linear: nn.Linear, params: dict) -> None:
    put(linear.weight, params["kernel"].T)
    put(linear.bias, params["bias"])


def put_norm(norm: nn.LayerNorm, params: dict) -> None:
    put(norm.weight, params["scale"])
    put(norm.bias, params["bias"])
