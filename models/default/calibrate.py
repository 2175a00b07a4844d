"""Makes the class probabilities mean something: one factor on all logits, fitted on the selection photos.

    python calibrate.py --data DATA --checkpoint balanced.pt --out final.pt

Low-rank experts pass on weaker features than the dense projections did, so the logits come out too small and all
probabilities near zero. The factor with the least cross-entropy puts that right; no prediction changes its rank.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F

from data import class_list, load_photos, split_photos
from evaluate import Photos, run
from network import load_student, save_student

TOP_K = 2
FACTORS = torch.logspace(0, 2, 200)


def best_factor(logits: torch.Tensor, labels: torch.Tensor) -> float:
    """The factor on logits [N, classes] with the least cross-entropy."""
    losses = torch.stack([F.cross_entropy(factor * logits, labels) for factor in FACTORS])
    return FACTORS[losses.argmin()].item()


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    student = load_student(args.checkpoint)
    pixels, labels = load_photos(split_photos(args.data)["selection"], class_list(args.data)[0])
    photos = Photos.prepare(student, pixels, labels)
    factor = best_factor(run(student, photos, TOP_K).logits, labels)
    student.classifier.weight *= factor
    student.classifier.bias *= factor
    print(f"logits times {factor:.2f}")
    save_student(student, args.out)


if __name__ == "__main__":
    main()
