"""Mixtures with a gate for each task over shared experts.

Mod-Squad (Chen et al. 2023, arXiv:2212.08066): attention heads and MLPs are both mixtures; softmax → top-k per task.
AdaMV-MoE (Chen et al. 2023, ICCV): V-MoE's router for each task, each with its own number of experts.
The backbone runs once for each task, with that task's gates.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import Attention, Mlp, PatchEmbed

DIM, HIDDEN, EXPERTS, HEAD = 32, 32, 6, 8
TASKS = ("classification", "depth")


class TaskRouter(nn.Module):
    def __init__(self, task: str, top_k: int, part: str):
        super().__init__()
        self.gate, self.top_k = gate_linear(DIM, EXPERTS), top_k
        self.card = RouterCard("softmax_then_top_k", EXPERTS, top_k, extra={"task": task, "part": part})

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        weights, ids = probs.topk(self.top_k, dim=-1)
        return Routing(logits, probs, ids, weights)


class TaskMlp(nn.Module):
    """Shared experts, a router per task; `top_k` by task."""

    def __init__(self, top_k: dict[str, int]):
        super().__init__()
        self.routers = nn.ModuleDict({task: TaskRouter(task, k, "mlp") for task, k in top_k.items()})
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor, task: str) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.routers[task](flat)
        each = F.gelu(flat[:, None, None] @ self.up[routing.expert_ids]) @ self.down[routing.expert_ids]
        return (each[:, :, 0] * routing.combine_weights[..., None]).sum(1).view(x.shape)


class TaskAttention(nn.Module):
    """Experts are attention heads: each has its own query and output map, keys and values are shared (Zhang et al.
    2022)."""

    def __init__(self, top_k: dict[str, int]):
        super().__init__()
        self.routers = nn.ModuleDict({task: TaskRouter(task, k, "attention") for task, k in top_k.items()})
        self.query, self.out = stacked(EXPERTS, DIM, HEAD), stacked(EXPERTS, HEAD, DIM)
        self.key_value = nn.Linear(DIM, 2 * HEAD)

    def forward(self, x: Tensor, task: str) -> Tensor:
        batch, tokens, _ = x.shape
        routing = self.routers[task](x.reshape(-1, DIM))
        ids = routing.expert_ids
        query = (x.reshape(-1, 1, 1, DIM) @ self.query[ids])[:, :, 0].view(batch, -1, HEAD)
        keys, values = self.key_value(x).chunk(2, -1)
        read = (query @ keys.transpose(1, 2) * HEAD**-0.5).softmax(-1) @ values
        each = (read.view(batch * tokens, -1, 1, HEAD) @ self.out[ids])[:, :, 0]
        return (each * routing.combine_weights[..., None]).sum(1).view(x.shape)


class TaskBlock(nn.Module):
    def __init__(self, attention: nn.Module, mlp: nn.Module):
        super().__init__()
        self.norm1, self.attention, self.norm2, self.mlp = nn.LayerNorm(DIM), attention, nn.LayerNorm(DIM), mlp

    def forward(self, x: Tensor, task: str) -> Tensor:
        x = x + call(self.attention, self.norm1(x), task)
        return x + call(self.mlp, self.norm2(x), task)


def call(module: nn.Module, x: Tensor, task: str) -> Tensor:
    return module(x, task) if hasattr(module, "routers") else module(x)


class Backbone(nn.Module):
    def __init__(self, blocks: list[TaskBlock]):
        super().__init__()
        self.embed, self.blocks, self.norm = PatchEmbed(32, 8, DIM), nn.ModuleList(blocks), nn.LayerNorm(DIM)

    def forward(self, pixel_values: Tensor, task: str) -> Tensor:
        x = self.embed(pixel_values)
        for block in self.blocks:
            x = block(x, task)
        return self.norm(x)


class ModSquad(nn.Module):
    """Two tasks: the image's class, and a depth per patch."""

    def __init__(self):
        super().__init__()
        k = {"classification": 2, "depth": 2}
        self.backbone = Backbone([TaskBlock(TaskAttention(k), TaskMlp(k)) for _ in range(2)])
        self.classify, self.depth = nn.Linear(DIM, 10), nn.Linear(DIM, 1)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.classify(self.backbone(pixel_values, "classification").mean(1))
        return logits, self.depth(self.backbone(pixel_values, "depth"))[..., 0].view(-1, 4, 4)


class AdaMv(nn.Module):
    """Classification with one expert per token, detection with three: boxes and class scores per patch."""

    def __init__(self):
        super().__init__()
        k = {"classification": 1, "detection": 3}
        plain = [TaskBlock(Attention(DIM, 4), Mlp(DIM, HIDDEN)) for _ in range(2)]
        sparse = [TaskBlock(Attention(DIM, 4), TaskMlp(k)) for _ in range(2)]
        self.backbone = Backbone([plain[0], sparse[0], plain[1], sparse[1]])
        self.classify, self.boxes, self.scores = nn.Linear(DIM, 10), nn.Linear(DIM, 4), nn.Linear(DIM, 5)

    def forward(self, pixel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits = self.classify(self.backbone(pixel_values, "classification").mean(1))
        tokens = self.backbone(pixel_values, "detection")
        return logits, self.boxes(tokens).sigmoid(), self.scores(tokens)


for EXPORTER, SUFFIX in (("torchscript", ""), ("dynamo", "-dynamo")):
    OPSET = 17 if EXPORTER == "torchscript" else None
    add(
        name=f"mod-squad{SUFFIX}",
        title=f"Mod-Squad, {EXPORTER}",
        exporter=EXPORTER,
        opset=OPSET,
        outputs=["logits", "depth"],
        paper="Chen et al.: Mod-Squad (CVPR 2023), arXiv:2212.08066",
        build=ModSquad,
        rule_text="A gate per task: softmax over the shared experts, the best two with their "
        "probabilities; heads and MLPs.",
        known_limits="Both tasks run, one after the other, with the same experts.",
    )
add(
    name="adamv-moe",
    title="AdaMV-MoE",
    opset=17,
    outputs=["logits", "boxes", "scores"],
    build=AdaMv,
    paper="Chen et al.: AdaMV-MoE (ICCV 2023)",
    rule_text="A router per task over shared experts: softmax, then the best one (classification) or "
    "three (detection).",
    known_limits="Both tasks run, one after the other, with the same experts; k differs between them.",
)
