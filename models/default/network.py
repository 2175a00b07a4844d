"""The student: the backbone with a MoE in place of the projection of some tail blocks."""

import copy
from pathlib import Path

import torch

from backbone import TAIL_START, Backbone, Block, load_backbone
from moe import MoeProjection, Routing


class MoeBlock(Block):
    """A block whose projection is a MoE over its hidden features, token by token."""

    def __init__(self, dense: Block, num_experts: int, rank: int):
        super().__init__(dense.spec)
        self.load_state_dict(dense.state_dict())
        self.project = MoeProjection(dense.spec.hidden, dense.spec.out_channels, num_experts, rank)

    def forward(self, x: torch.Tensor, k: int) -> torch.Tensor:
        h = self.hidden(x).permute(0, 2, 3, 1)
        y = self.project(h.reshape(-1, h.shape[-1]), k)
        y = y.view(*h.shape[:3], -1).permute(0, 3, 1, 2)
        return x + y if self.spec.residual else y


class Student(Backbone):
    """`ranks` maps a block's number to the width of its experts; other tail blocks stay dense."""

    def __init__(self, teacher: Backbone, ranks: dict[int, int], num_experts: int = 8):
        super().__init__()
        self.load_state_dict(teacher.state_dict())
        self.ranks, self.num_experts = dict(ranks), num_experts
        for number, rank in self.ranks.items():
            self.blocks[number] = MoeBlock(copy.deepcopy(self.blocks[number]), num_experts, rank)

    def moe_layers(self) -> dict[int, MoeProjection]:
        """The MoE layers in order, by block number."""
        return {number: self.blocks[number].project for number in sorted(self.ranks)}

    def routings(self) -> list[Routing]:
        """The decisions of the last run, layer by layer."""
        return [moe.routing for moe in self.moe_layers().values()]

    def tail_outputs(self, x: torch.Tensor, k: int = 2, first: int = TAIL_START) -> list[torch.Tensor]:
        """Outputs of the tail blocks from number `first` on, which gets x."""
        outputs = []
        for number in range(first, len(self.blocks)):
            x = self.blocks[number](x, k) if number in self.ranks else self.blocks[number](x)
            outputs.append(x)
        return outputs

    def forward(self, pixels: torch.Tensor, k: int = 2) -> torch.Tensor:
        return self.classifier(self.pooled(self.tail_outputs(self.early(pixels), k)[-1]))


def load_student(checkpoint: Path) -> Student:
    """A student in evaluation mode, from {"ranks", "num_experts", "state"}."""
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    student = Student(load_backbone(), saved["ranks"], saved["num_experts"])
    student.load_state_dict(saved["state"])
    return student.eval()


def save_student(student: Student, path: Path) -> None:
    """Writes what `load_student` reads."""
    torch.save({"ranks": student.ranks, "num_experts": student.num_experts, "state": student.state_dict()}, path)


def parameter_counts(student: Student) -> dict[str, int | dict[str, int]]:
    """All parameters, and those one token meets at k = 1, 2, 4, E."""
    count = lambda module: sum(p.numel() for p in module.parameters())
    experts = sum(count(moe) - count(moe.router) for moe in student.moe_layers().values())
    total, expert = count(student), experts // student.num_experts
    dense = total - experts
    return {"total": total, "activated": {str(k): dense + k * expert for k in (1, 2, 4, student.num_experts)}}
