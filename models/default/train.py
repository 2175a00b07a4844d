"""Makes the student: experts and routers in closed form from the dense network, then sharper routers.

    python train.py --data DATA --out student.pt

No gradient descent is involved. `balance.py` comes next.
"""

import argparse
from pathlib import Path

import torch

from backbone import Backbone, load_backbone
from data import CropMaker, normalise
from fit import fit_student
from network import Student, save_student

RANKS = {5: 64, 8: 96, 11: 96, 15: 128}
NUM_EXPERTS = 8
CROPS = 800
CROPS_AT_ONCE = 50
SHARPENING = 3.0


@torch.no_grad()
def early_features(teacher: Backbone, data: Path) -> torch.Tensor:
    """What blocks 0–4 make of the training crops, [CROPS, 40, 28, 28], channels last."""
    maker, parts = CropMaker(data, seed=0), []
    for _ in range(CROPS // CROPS_AT_ONCE):
        pixels = normalise(maker.batch(CROPS_AT_ONCE)).contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            parts.append(teacher.early(pixels).float())
    return torch.cat(parts).contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def sharpen(student: Student, factor: float) -> None:
    """Scales the gate logits: the choice of experts stays, the first of them gets more of the weight.

    A token is then handled by the expert that was fitted to its cluster, rather than by an average in which several
    experts correct each other.
    """
    for moe in student.moe_layers().values():
        moe.router.weight *= factor
        moe.router.bias *= factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    teacher = load_backbone().to(memory_format=torch.channels_last)
    early = early_features(teacher, args.data)
    torch.manual_seed(1)
    student = Student(teacher, RANKS, NUM_EXPERTS).to(memory_format=torch.channels_last)
    fit_student(student, teacher, early)
    sharpen(student, SHARPENING)
    save_student(student, args.out)


if __name__ == "__main__":
    main()
