"""Measures of a student on labelled photos: accuracy by k, load, and what random routing and banned experts do.

    python evaluate.py --data DATA --checkpoint final.pt --out evaluation.json
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import torch

from backbone import TAIL_START, load_backbone
from data import SIZE, class_list, load_photos, split_photos
from moe import Choice, ban, random_choice, softmax_of_top_k
from network import Student, load_student

HELD_OUT = "100 photos kept aside (every 5th of 500 by name)"
RANDOM_SEEDS = 3


@dataclass
class Photos:
    """Photos after blocks 0–4, which routing does not touch: early [N, 40, 28, 28], labels [N]."""

    early: torch.Tensor
    labels: torch.Tensor

    @classmethod
    @torch.no_grad()
    def prepare(cls, student: Student, pixels: torch.Tensor, labels: torch.Tensor, size: int = 25) -> "Photos":
        assert pixels.shape[-1] == SIZE
        return cls(torch.cat([student.early(part) for part in pixels.split(size)]), labels)


@dataclass
class Run:
    """Logits [N, 1000] and, for every MoE layer, the share of all choices that each expert got, [E]."""

    logits: torch.Tensor
    load: list[torch.Tensor]


@torch.no_grad()
def run(student: Student, photos: Photos, k: int, size: int = 25) -> Run:
    logits, counts = [], None
    for early in photos.early.split(size):
        logits.append(student.classifier(student.pooled(student.tail_outputs(early, k)[-1])))
        new = [torch.bincount(r.ids.flatten(), minlength=student.num_experts) for r in student.routings()]
        counts = new if counts is None else [a + b for a, b in zip(counts, new)]
    return Run(torch.cat(logits), [count / count.sum() for count in counts])


def run_with(student: Student, photos: Photos, k: int, choices: dict[int, Choice]) -> Run:
    """A run with the rule of some layers (by block number) replaced."""
    layers = student.moe_layers()
    for number, choice in choices.items():
        layers[number].choose = choice
    try:
        return run(student, photos, k)
    finally:
        for number in choices:
            layers[number].choose = softmax_of_top_k


def top_n(logits: torch.Tensor, labels: torch.Tensor, n: int) -> float:
    """Share of rows whose label is among the n best."""
    return (logits.topk(n, dim=1)[1] == labels[:, None]).any(1).float().mean().item()


def random_routing(student: Student, photos: Photos, k: int, seeds: int) -> float:
    """Mean top-1 when every layer draws its experts blindly."""
    scores = []
    for seed in range(seeds):
        choices = {number: random_choice(1000 * seed + number) for number in student.moe_layers()}
        scores.append(top_n(run_with(student, photos, k, choices).logits, photos.labels, 1))
    return sum(scores) / seeds


def coefficient_of_variation(load: torch.Tensor) -> float:
    return (load.std(correction=0) / load.mean()).item()


def _predictions(student: Student, x: torch.Tensor, k: int, first: int) -> torch.Tensor:
    """Predicted classes, from what block `first` reads."""
    return student.classifier(student.pooled(student.tail_outputs(x, k, first)[-1])).argmax(1)


@torch.no_grad()
def banning(student: Student, photos: Photos, k: int, size: int = 25) -> dict[int, list[float]]:
    """By block number and expert: the share of photos whose prediction changes without that expert.

    Blocks before the banned layer stay as they are and run once.
    """
    layers = student.moe_layers()
    changed = {number: [0] * moe.num_experts for number, moe in layers.items()}
    for early in photos.early.split(size):
        outputs = [early, *student.tail_outputs(early, k)]
        usual = student.classifier(student.pooled(outputs[-1])).argmax(1)
        for number, moe in layers.items():
            for expert in range(moe.num_experts):
                moe.choose = ban(expert)
                without = _predictions(student, outputs[number - TAIL_START], k, number)
                changed[number][expert] += (without != usual).sum().item()
            moe.choose = softmax_of_top_k
    return {number: [count / len(photos.labels) for count in counts] for number, counts in changed.items()}


def accuracy_row(photos: Photos, k: int, result: Run) -> dict:
    top1, top5 = (round(top_n(result.logits, photos.labels, n), 4) for n in (1, 5))
    return {"data": HELD_OUT, "images": len(photos.labels), "top_k": k, "top1": top1, "top5": top5}


def load_rows(student: Student, k: int, result: Run) -> list[dict]:
    """Load of every layer: share of all choices per expert, and its coefficient of variation."""
    return [
        {
            "layer": f"block {number}",
            "top_k": k,
            "cv": round(coefficient_of_variation(share), 3),
            "share": [round(value, 4) for value in share.tolist()],
        }
        for number, share in zip(student.moe_layers(), result.load)
    ]


def evaluation(student: Student, photos: Photos, dense_top1: float) -> dict:
    """Everything that PyTorch measures on the photos kept aside."""
    changed = banning(student, photos, 2)
    runs = {k: run(student, photos, k) for k in (1, 2, 4, student.num_experts)}
    return {
        "dense_top1": round(dense_top1, 4),
        "accuracy": [accuracy_row(photos, k, result) for k, result in runs.items()],
        "random_routing": {
            "top_k": 2,
            "seeds": RANDOM_SEEDS,
            "top1": round(random_routing(student, photos, 2, RANDOM_SEEDS), 4),
        },
        "banned_expert_changes": {
            f"block {number}": [round(share, 4) for share in shares] for number, shares in changed.items()
        },
        "load": [row for k in (1, 2, 4) for row in load_rows(student, k, runs[k])],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "evaluation.json")
    args = parser.parse_args()
    student, wnids = load_student(args.checkpoint), class_list(args.data)[0]
    pixels, labels = load_photos(split_photos(args.data)["held_out"], wnids)
    with torch.no_grad():
        dense = torch.cat([load_backbone()(part) for part in pixels.split(25)])
    result = evaluation(student, Photos.prepare(student, pixels, labels), top_n(dense, labels, 1))
    args.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["accuracy"]), result["random_routing"])


if __name__ == "__main__":
    main()
