"""Measures moescope against the Python peer in one go and prints the ratios with their bars.

    cargo build --release
    pip install onnxruntime==1.31.1 pillow numpy
    python3 benches/compare.py

Both take turns, so that whatever else the machine does meets both alike; a ratio is of medians, and the ratio of the
fastest runs stands beside it. Exit code 1 when a median misses its bar.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PEER = [sys.executable, str(ROOT / "benches/peer.py")]


def report(command):
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def seconds_of(command):
    started = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def row(name, ours, peers, bar=None):
    """Prints one comparison; true unless it misses its bar."""
    median = statistics.median(ours) / statistics.median(peers)
    met = bar is None or median <= bar
    verdict = "" if bar is None else f"bar {bar:.2f} {'met' if met else 'MISSED'}"
    print(
        f"{name:<34} {statistics.median(ours) * 1e3:9.3f} {statistics.median(peers) * 1e3:9.3f}"
        f" {median:7.3f} {min(ours) / min(peers):9.3f}  {verdict}"
    )
    return met


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--image", default=str(ROOT / "assets/samples/cat.jpg"))
    parser.add_argument("--model", default=str(ROOT / "models/default/moescope-default.onnx"))
    parser.add_argument("--moescope", default=str(ROOT / "target/release/moescope"))
    parser.add_argument("--threads", type=int, help="of both; without it ONNX Runtime chooses for both")
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--runs", type=int, default=10, help="runs in each turn")
    args = parser.parse_args()
    shared = ["--model", args.model, *(["--threads", str(args.threads)] if args.threads else [])]
    runs = ["--runs", str(args.runs)]
    ours, peers = {}, {}
    for _ in range(args.turns):
        for samples, command in (
            (ours, [args.moescope, "bench", args.image, "--json", *shared, *runs]),
            (peers, [*PEER, args.image, *shared, *runs]),
        ):
            found = report(command)
            for stage, timing in found["stages"].items():
                samples.setdefault(stage, []).extend(timing["samples"])
            for top_k, timing in found["inference_by_top_k"].items():
                samples.setdefault(f"k={top_k}", []).extend(timing["samples"])
        for samples, command in (
            (ours, [args.moescope, "classify", args.image, *shared]),
            (peers, [*PEER, args.image, "--once", *shared]),
        ):
            samples.setdefault("process", []).append(seconds_of(command))
    print(f"{Path(args.image).name}, {args.threads or 'default'} thread(s), {args.turns} turns of {args.runs} runs")
    print(f"{'milliseconds':<34} {'moescope':>9} {'peer':>9} {'ratio':>7} {'of fastest':>10}")
    met = [
        row("decode", ours["decode"], peers["decode"]),
        row("preprocess", ours["preprocess"], peers["preprocess"]),
        row("inference", ours["inference"], peers["inference"], 1.02),
        row("statistics", ours["statistics"], peers["statistics"]),
        row("file to top-5 and statistics", ours["total"], peers["total"], 0.8),
        row("one image, start to exit", ours["process"], peers["process"], 1.0),
    ]
    smallest, largest = sorted((key for key in ours if key.startswith("k=")), key=lambda key: int(key[2:]))
    met.append(row(f"inference, {smallest} against {largest} (ours)", ours[smallest], ours[largest], 0.6))
    sys.exit(0 if all(met) else 1)


if __name__ == "__main__":
    main()
