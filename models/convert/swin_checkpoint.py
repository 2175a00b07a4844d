"""Joins the files of a Swin-MoE checkpoint: one per rank (GPU) of the training.

NAME.pth.rank0, NAME.pth.rank1, … each hold {"model": state dict}: the experts of that rank, and all other parameters,
unless those are in NAME.pth.master. Experts are numbered by rank. With fewer experts than ranks, several ranks in a row
hold slices of one expert: its hidden units, and of the last bias its outputs. NAME.pth.global holds everything.
"""

import re
from pathlib import Path

import torch
from torch import Tensor

EXPERT = re.compile(r"\._moe_layer\.experts\.batched_(fc[12])_(w|bias)$")
GATE = re.compile(r"\._moe_layer\.gates\.0\.(wg\.weight|sim_matrix)$")


class CheckpointError(Exception):
    """Files are missing or do not fit together; the text says what to do."""


def read(path: Path) -> tuple[dict[str, Tensor], int]:
    """`path` is NAME.pth without suffix. The whole model, and how many ranks share an expert."""
    whole = Path(f"{path}.global")
    if whole.exists():
        return load(whole), 1
    ranks = sorted(path.parent.glob(f"{path.name}.rank*"), key=lambda file: int(file.name.rsplit("rank", 1)[1]))
    if not ranks or [file.name for file in ranks] != [f"{path.name}.rank{i}" for i in range(len(ranks))]:
        raise CheckpointError(f"{path}.rank0, {path}.rank1 and so on are not all there: unpack the whole archive")
    files = [load(file) for file in ranks]
    master = Path(f"{path}.master")
    params = (load(master) if master.exists() else {}) | files[0]
    experts = {gate_width(name, value) for name, value in params.items() if GATE.search(name)}
    if len(experts) != 1:
        raise CheckpointError(
            f"{path} has {len(experts)} kinds of routers instead of one: is it a Swin-MoE checkpoint?"
        )
    count = experts.pop()
    held = next(value.shape[0] for name, value in files[0].items() if EXPERT.search(name))
    shared = max(1, len(files) // count)
    if held * len(files) != count * shared:
        raise CheckpointError(
            f"{len(files)} files with {held} expert(s) each do not make {count} experts: files are missing"
        )
    for name in [name for name in params if EXPERT.search(name)]:
        params[name] = joined(name, [file[name] for file in files], shared)
    return params, shared


def load(file: Path) -> dict[str, Tensor]:
    """Only tensors are read: nothing in the file is run."""
    return torch.load(file, map_location="cpu", weights_only=True)["model"]


def gate_width(name: str, value: Tensor) -> int:
    return value.shape[1] if name.endswith("sim_matrix") else value.shape[0]


def joined(name: str, parts: list[Tensor], shared: int) -> Tensor:
    """All experts in one tensor; slices of one expert lie next to each other along their second axis."""
    experts = [torch.cat(parts[i : i + shared], 1) for i in range(0, len(parts), shared)]
    return torch.cat(experts)
