"""Swin-MoE in PyTorch, with the parameter names and shapes of the published checkpoints.

Swin (Liu et al. 2021, arXiv:2103.14030) with the relative position bias of Swin V2, computed by a small network, and
Tutel's mixture (Hwang et al. 2023, arXiv:2206.03382): softmax → top-k, tokens placed by their largest score, at most
k · int(factor · ceil(T / E)) tokens per expert, weights divided by their sum only where that was trained.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Params = dict[str, Tensor]


@dataclass
class Settings:
    """What the parameters do not tell; the defaults are those of the published configurations."""

    size: int = 192  # pixels
    top_k: int = 1
    capacity_factor: float = 1.25
    normalize_gate: bool = False
    batch_priority: bool = True
    group_images: int = 1  # images of one batch share the capacity
    alignment: int = 1  # ranks that share an expert: the capacity is a multiple of it


class Attention(nn.Module):
    """Attention inside windows; `windows` is None where one window is the whole grid."""

    def __init__(self, params: Params, grid: int, shifted: bool):
        super().__init__()
        self.qkv, self.out = linear(params, "qkv"), linear(params, "proj")
        self.heads = params["cpb_mlp.2.weight"].shape[0]
        table = params["relative_coords_table"]
        self.window = (table.shape[1] + 1) // 2
        self.grid, self.shift = grid, self.window // 2 if shifted and grid > self.window else 0
        hidden = F.relu(F.linear(table, params["cpb_mlp.0.weight"], params["cpb_mlp.0.bias"]))
        bias = F.linear(hidden, params["cpb_mlp.2.weight"]).view(-1, self.heads)[self.relative_positions().flatten()]
        self.register_buffer("bias", bias.view(self.window**2, self.window**2, -1).permute(2, 0, 1).contiguous())
        self.register_buffer("mask", self.shift_mask())

    def relative_positions(self) -> Tensor:
        """Index into the table of offsets for every pair of patches of a window."""
        at = torch.stack(torch.meshgrid(*[torch.arange(self.window)] * 2, indexing="ij")).flatten(1)
        apart = at[:, :, None] - at[:, None] + self.window - 1
        return apart[0] * (2 * self.window - 1) + apart[1]

    def shift_mask(self) -> Tensor | None:
        """Keeps patches apart that the roll brought together from opposite sides."""
        if not self.shift:
            return None
        zone = torch.zeros(self.grid)
        zone[-self.window :], zone[-self.shift :] = 1, 2
        zones = self.to_windows((zone[:, None] * 3 + zone)[None, :, :, None])[..., 0]
        return (zones[:, None] != zones[:, :, None]).float()[:, None] * -100.0

    def to_windows(self, image: Tensor) -> Tensor:
        batch, dim, side = image.shape[0], image.shape[3], self.grid // self.window
        cut = image.reshape(batch, side, self.window, side, self.window, dim)
        return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.window**2, dim)

    def from_windows(self, windows: Tensor) -> Tensor:
        dim, side = windows.shape[2], self.grid // self.window
        cut = windows.view(-1, side, side, self.window, self.window, dim)
        return cut.permute(0, 1, 3, 2, 4, 5).reshape(-1, self.grid, self.grid, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, dim = x.shape
        image = x.view(batch, self.grid, self.grid, dim).roll((-self.shift, -self.shift), (1, 2))
        windows = self.to_windows(image)
        q, k, v = (
            self.qkv(windows)
            .view(-1, self.window**2, 3, self.heads, dim // self.heads)
            .permute(2, 0, 3, 1, 4)
            .unbind(0)
        )
        scores = q * (dim // self.heads) ** -0.5 @ k.transpose(-2, -1) + self.bias
        if self.mask is not None:
            scores = scores + self.mask.repeat(batch, 1, 1, 1)
        out = (scores.softmax(-1) @ v).transpose(1, 2).reshape(-1, self.window**2, dim)
        return self.from_windows(self.out(out)).roll((self.shift, self.shift), (1, 2)).view(batch, tokens, dim)


class Mlp(nn.Module):
    def __init__(self, params: Params):
        super().__init__()
        self.up, self.down = linear(params, "fc1"), linear(params, "fc2")

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.gelu(self.up(x)))


class LinearGate(nn.Module):
    def __init__(self, params: Params):
        super().__init__()
        self.gate = linear(params, "wg")

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x)


class CosineGate(nn.Module):
    """Cosine of the projected token and each expert's vector × a learned temperature of at most 100."""

    def __init__(self, params: Params):
        super().__init__()
        self.project = linear(params, "cosine_projector")
        self.experts = nn.Parameter(F.normalize(params["sim_matrix"], dim=0))
        self.scale = nn.Parameter(params["temperature"].clamp(max=math.log(100.0)).exp())

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(self.project(x), dim=-1) @ self.experts * self.scale


class SparseMlp(nn.Module):
    """The mixture. `routing` is what it did last: gate probabilities [T, E], experts and combine weights [T, k]."""

    def __init__(self, params: Params, tokens: int, settings: Settings):
        super().__init__()
        gate = below(params, "gates.0")
        self.gate = CosineGate(gate) if "sim_matrix" in gate else LinearGate(gate)
        experts = below(params, "experts")
        self.up, self.up_bias = (
            nn.Parameter(experts["batched_fc1_w"].transpose(1, 2)),
            nn.Parameter(experts["batched_fc1_bias"]),
        )
        self.down, self.down_bias = nn.Parameter(experts["batched_fc2_w"]), nn.Parameter(experts["batched_fc2_bias"])
        self.num_experts, self.settings = self.up.shape[0], settings
        share = math.ceil(tokens * settings.group_images / self.num_experts)
        exact = settings.top_k * int(settings.capacity_factor * share)
        self.capacity = settings.alignment * math.ceil(exact / settings.alignment)
        self.routing: tuple[Tensor, Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        flat, top_k = x.reshape(-1, x.shape[-1]), self.settings.top_k
        probs = self.gate(flat).softmax(-1)
        weights, ids = probs.topk(top_k, dim=-1)
        place = self.places(ids, probs)
        if self.settings.normalize_gate and top_k > 1:
            weights = weights / weights.sum(-1, keepdim=True)
        weights = weights * (place < self.capacity)
        self.routing = (probs, ids, weights)

        slot = ids * (self.capacity + 1) + place.clamp(
            max=self.capacity
        )  # the last place of each expert takes what is dropped
        buffers = torch.zeros(self.num_experts * (self.capacity + 1), flat.shape[1])
        buffers = buffers.index_copy(0, slot.flatten(), flat.repeat_interleave(top_k, 0)).view(
            self.num_experts, -1, flat.shape[1]
        )
        inner = F.gelu(buffers @ self.up + self.up_bias[:, None])
        each = (inner @ self.down + self.down_bias[:, None]).flatten(0, 1)[slot]
        return (each * weights[..., None]).sum(1).view(x.shape)

    def places(self, ids: Tensor, probs: Tensor) -> Tensor:
        """The place of each assignment [T, k] in its expert's buffer: all first choices, then all second choices."""
        order = probs.amax(-1).argsort(descending=True) if self.settings.batch_priority else torch.arange(ids.shape[0])
        by_rank = ids[order].t().reshape(-1)
        place = F.one_hot(by_rank, self.num_experts).cumsum(0).gather(1, by_rank[:, None])[:, 0] - 1
        return place.view(ids.shape[1], -1).t()[order.argsort()]


class Block(nn.Module):
    def __init__(self, params: Params, grid: int, shifted: bool, settings: Settings):
        super().__init__()
        self.norm1, self.norm2 = norm(params, "norm1"), norm(params, "norm2")
        self.attention = Attention(below(params, "attn"), grid, shifted)
        mixture = below(params, "mlp._moe_layer")
        self.mlp = SparseMlp(mixture, grid * grid, settings) if mixture else Mlp(below(params, "mlp"))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Merge(nn.Module):
    """2 × 2 patches become one of twice the width."""

    def __init__(self, params: Params, grid: int):
        super().__init__()
        self.grid, self.norm, self.reduce = grid, norm(params, "norm"), linear(params, "reduction")

    def forward(self, x: Tensor) -> Tensor:
        image = x.view(x.shape[0], self.grid, self.grid, -1)
        four = torch.cat([image[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
        return self.reduce(self.norm(four.flatten(1, 2)))


class SwinMoe(nn.Module):
    """Image [B, 3, H, W], normalised as ImageNet's → logits, then the routing of every mixture."""

    def __init__(self, params: Params, settings: Settings):
        super().__init__()
        weight = params["patch_embed.proj.weight"]
        self.embed = nn.Conv2d(3, weight.shape[0], weight.shape[2], weight.shape[2])
        self.embed.load_state_dict({"weight": weight, "bias": params["patch_embed.proj.bias"]})
        self.embed_norm, self.norm, self.head = (
            norm(params, "patch_embed.norm"),
            norm(params, "norm"),
            linear(params, "head"),
        )
        self.grids, layers, grid = [], [], settings.size // weight.shape[2]
        for stage in range(numbered(params, "layers")):
            inside = below(params, f"layers.{stage}")
            for i in range(numbered(inside, "blocks")):
                layers.append(Block(below(inside, f"blocks.{i}"), grid, i % 2 == 1, settings))
                self.grids.append((f"stage {stage} block {i}", grid))
            merge = below(inside, "downsample")
            if merge:
                layers.append(Merge(merge, grid))
                self.grids.append(("", grid))
                grid //= 2
        self.layers = nn.Sequential(*layers)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        x = self.embed_norm(self.embed(pixel_values).flatten(2).transpose(1, 2))
        logits = self.head(self.norm(self.layers(x)).mean(1))
        return logits, *(value for _, _, mlp in self.mixtures() for value in mlp.routing)

    def mixtures(self) -> list[tuple[str, int, SparseMlp]]:
        """Name, side of the patch grid and layer of every mixture."""
        pairs = zip(self.grids, self.layers, strict=True)
        return [
            (name, grid, layer.mlp)
            for (name, grid), layer in pairs
            if isinstance(layer, Block) and isinstance(layer.mlp, SparseMlp)
        ]


def below(params: Params, name: str) -> Params:
    return {key[len(name) + 1 :]: value for key, value in params.items() if key.startswith(f"{name}.")}


def numbered(params: Params, name: str) -> int:
    """How many NAME.0, NAME.1, … there are."""
    return len({key.split(".")[1] for key in params if key.startswith(f"{name}.")})


def linear(params: Params, name: str) -> nn.Linear:
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    module = nn.Linear(weight.shape[1], weight.shape[0], bias is not None)
    module.load_state_dict(below(params, name))
    return module


def norm(params: Params, name: str) -> nn.LayerNorm:
    module = nn.LayerNorm(params[f"{name}.weight"].shape[0])
    module.load_state_dict(below(params, name))
    return module
