"""Checks the exported file against PyTorch and against the bars, in the Python onnxruntime.

    python check.py --data DATA --checkpoint final.pt --evaluation evaluation.json

Adds what it measured to the evaluation. Exits with 1 if PyTorch and the file disagree; a bar that is not reached is
printed and written down, not hidden.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from data import class_list, load_photos, split_photos
from network import Student, load_student

KS = (1, 2, 4, 8)
IMAGES = 20
THREADS = 2
TIMED_RUNS = 60
LOGIT_TOLERANCE = 1e-4


def open_session(model: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.log_severity_level = 3
    return ort.InferenceSession(model.read_bytes(), options, providers=["CPUExecutionProvider"])


def outputs(session: ort.InferenceSession, pixels: torch.Tensor, k: int) -> dict[str, np.ndarray]:
    """All outputs by name, for pixels [B, 3, 224, 224]."""
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"pixels": pixels.numpy(), "top_k": np.array([k], np.int64)})))


@torch.no_grad()
def compare(session: ort.InferenceSession, student: Student, pixels: torch.Tensor, k: int) -> dict:
    """Largest differences between PyTorch and the file for one batch."""
    logits = student(pixels, k)
    got = outputs(session, pixels, k)
    different, weights, empty = 0, 0.0, 0
    for layer, routing in enumerate(student.routings(), 1):
        ids = got[f"moe.{layer}.expert_ids"]
        different += int((ids != routing.ids.numpy()).sum())
        weights = max(weights, float(np.abs(got[f"moe.{layer}.combine_weights"] - routing.weights.numpy()).max()))
        empty += student.num_experts - len(np.unique(ids))
    difference = float(np.abs(got["logits"] - logits.numpy()).max())
    return {"logits": difference, "weights": weights, "different_experts": different, "experts_without_tokens": empty}


def agreement(session: ort.InferenceSession, student: Student, photos: torch.Tensor) -> list[dict]:
    """PyTorch against the file: photos in batches of 5, and an even grey image, which leaves experts without tokens."""
    rows = []
    for k in KS:
        results = [compare(session, student, part, k) for part in photos.split(5)]
        worst = {name: max(result[name] for result in results) for name in ("logits", "weights", "different_experts")}
        rows.append({"images": f"{len(photos)} photos", "top_k": k, **worst})
        rows.append({"images": "grey", "top_k": k, **compare(session, student, torch.zeros(1, 3, 224, 224), k)})
    return rows


def timing(session: ort.InferenceSession, pixels: torch.Tensor) -> dict[str, float]:
    """Median milliseconds of a run by k, one image; the k take turns, so that other load hits all alike."""
    seconds = {k: [] for k in KS}
    for _ in range(TIMED_RUNS):
        for k in KS:
            begun = time.perf_counter()
            outputs(session, pixels, k)
            seconds[k].append(time.perf_counter() - begun)
    return {str(k): round(1000 * statistics.median(values), 2) for k, values in seconds.items()}


def onnx_top1(session: ort.InferenceSession, photos: torch.Tensor, labels: torch.Tensor, k: int) -> float:
    """Accuracy of the file itself, one image at a time."""
    right = [outputs(session, photo[None], k)["logits"].argmax() == label for photo, label in zip(photos, labels.tolist())]
    return float(np.mean(right))


def bars(result: dict) -> list[tuple[str, str, bool]]:
    """Name, measured figure, reached or not."""
    top1 = {row["top_k"]: row["top1"] for row in result["accuracy"]}
    cost = top1[2] - result["random_routing"]["top1"]
    least = min(min(shares) for shares in result["banned_expert_changes"].values())
    cv = {row["layer"]: row["cv"] for row in result["load"] if row["top_k"] == 2}
    ratio = result["milliseconds"]["1"] / result["milliseconds"]["8"]
    photos = [row for row in result["agreement"] if row["images"] != "grey"]
    logits = max(row["logits"] for row in result["agreement"])
    different = sum(row["different_experts"] for row in photos)
    return [
        ("top-1 at k=2 at least 0.70", f"{top1[2]:.3f}", top1[2] >= 0.70),
        ("k=1 within 0.06 of it", f"{top1[1]:.3f}", top1[1] >= top1[2] - 0.06),
        ("k=4 no worse than k=2 - 0.02", f"{top1[4]:.3f}", top1[4] >= top1[2] - 0.02 - 1e-9),
        ("k=8 no worse than k=2 - 0.02", f"{top1[8]:.3f}", top1[8] >= top1[2] - 0.02 - 1e-9),
        ("random routing at k=2 costs at least 0.10", f"{cost:.3f}", cost >= 0.10),
        ("every banned expert changes predictions", f"least {least:.3f} of the photos", least > 0),
        ("load CV at most 0.6 in each layer", f"largest {max(cv.values()):.3f}", max(cv.values()) <= 0.6),
        ("file at most 40 MB", f"{result['file_bytes'] / 1e6:.1f} MB", result["file_bytes"] <= 40e6),
        ("k=1 costs at most 0.6 of k=8", f"{ratio:.3f}", ratio <= 0.6),
        ("logits as PyTorch's within 1e-4", f"{logits:.1e}", logits <= LOGIT_TOLERANCE),
        ("the same experts as PyTorch", f"{different} different choices", different == 0),
    ]


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--model", type=Path, default=here / "moescope-default.onnx")
    parser.add_argument("--evaluation", type=Path, default=here / "evaluation.json")
    args = parser.parse_args()
    torch.set_num_threads(THREADS)
    session, student = open_session(args.model), load_student(args.checkpoint)
    photos, labels = load_photos(split_photos(args.data)["held_out"], class_list(args.data)[0])
    result = json.loads(args.evaluation.read_text())
    result["agreement"] = agreement(session, student, photos[:IMAGES])
    result["onnx_top1_at_2"] = onnx_top1(session, photos, labels, 2)
    result["milliseconds"] = timing(session, photos[:1])
    result["file_bytes"] = args.model.stat().st_size
    measured = bars(result)
    result["bars"] = [{"bar": name, "measured": figure, "reached": reached} for name, figure, reached in measured]
    args.evaluation.write_text(json.dumps(result, indent=1) + "\n")
    for name, figure, reached in measured:
        print(f"{'reached' if reached else 'MISSED ':8} {name}: {figure}")
    sys.exit(0 if measured[-1][2] and measured[-2][2] else 1)


if __name__ == "__main__":
    main()
