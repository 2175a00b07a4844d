"""Evens out the load at the end, by the routers' biases alone.

    python balance.py --data DATA --checkpoint student.pt --out balanced.pt

The random crops of training are not quite like whole photos, so experts that are used evenly there need not be here. Each
round measures the load of every layer at k = 2 on photos of the training split and moves the biases against it.
"""

import argparse
from pathlib import Path

import torch

from data import class_list, load_photos, split_photos
from evaluate import Photos, coefficient_of_variation, run
from network import Student, load_student, save_student

TOP_K = 2
ENOUGH = 0.35  # coefficient of variation at which a layer is left alone
STEP = 0.3


@torch.no_grad()
def settle(student: Student, photos: Photos, rounds: int) -> None:
    """Changes the biases in place."""
    for _ in range(rounds):
        load = run(student, photos, TOP_K).load
        print("load CV", [round(coefficient_of_variation(share), 3) for share in load], flush=True)
        for moe, share, routing in zip(student.moe_layers().values(), load, student.routings()):
            top = routing.logits.topk(TOP_K + 1, dim=1)[0]
            margin = (top[:, 0] - top[:, TOP_K]).mean()
            if coefficient_of_variation(share) > ENOUGH:
                moe.router.bias -= STEP * margin * (share * student.num_experts).clamp(min=0.05).log()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=70)
    parser.add_argument("--rounds", type=int, default=4)
    args = parser.parse_args()
    student = load_student(args.checkpoint)
    chosen = split_photos(args.data)["train"][:: max(1, 350 // args.photos)]
    pixels, labels = load_photos(chosen, class_list(args.data)[0])
    settle(student, Photos.prepare(student, pixels, labels), args.rounds)
    save_student(student, args.out)


if __name__ == "__main__":
    main()
