"""Does what `moescope bench --json` does, with Pillow, NumPy and the Python onnxruntime: the peer to compare with.

Decodes an image, preprocesses it by the model card, runs the model, and computes the top five classes and the routing
statistics of every layer. `--once` does it a single time and prints the best class, as `moescope classify` would.
"""

import argparse
import json
import sys
import time

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
WARM_UP_ROUNDS = 3


def open_session(model, threads):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if threads:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return session, json.loads(session.get_modelmeta().custom_metadata_map["moescope.card"])


def decode(path):
    image = ImageOps.exif_transpose(Image.open(path))
    return image.convert("RGB")


def preprocess(image, card):
    resize, height, width = card["resize"], card["height"], card["width"]
    if resize["rule"] == "stretch":
        size = (width, height)
    else:
        scale = resize["size"] / min(image.size)
        size = tuple(round(side * scale) for side in image.size)
    image = image.resize(size, FILTERS[resize["filter"]])
    left, top = (image.width - width) // 2, (image.height - height) // 2
    values = np.asarray(image.crop((left, top, left + width, top + height)), np.float32)
    values = (values / np.float32(255) - np.float32(card["mean"])) / np.float32(card["std"])
    values = values.transpose(2, 0, 1) if card["layout"] == "NCHW" else values
    return np.ascontiguousarray(values[None])


def infer(session, card, tensor, top_k):
    inputs = {card["input"]["name"]: tensor}
    if card.get("top_k"):
        inputs[card["top_k"]["input"]] = np.int64([top_k])
    outputs = session.run(None, inputs)
    return {output.name: value for output, value in zip(session.get_outputs(), outputs)}


def top_five(logits, labels):
    exp = np.exp(logits - logits.max())
    probabilities = exp / exp.sum()
    best = np.argsort(-logits, kind="stable")[:5]
    return [(labels[index] if labels else f"class {index}", int(index), float(probabilities[index])) for index in best]


def spread(values):
    """The measures of `LoadStats`."""
    count, total, mean = len(values), values.sum(), values.mean()
    share = values / total
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    rising = np.sort(values)
    gini = ((2 * np.arange(1, count + 1) - count - 1) * rising).sum() / (count * total)
    variance = values.var()
    return {
        "cv": np.sqrt(variance) / mean,
        "cv_squared": variance / mean**2,
        "cv_squared_unbiased": variance * count / (count - 1) / mean**2,
        "max_over_mean": values.max() / mean,
        "max_violation": values.max() / mean - 1,
        "entropy_nats": entropy,
        "entropy_normalized": entropy / np.log(count),
        "effective_experts": np.exp(entropy),
        "effective_experts_simpson": 1 / (share**2).sum(),
        "gini": gini,
        "gini_normalized": gini * count / (count - 1),
        "kl_to_uniform": np.log(count) - entropy,
        "dead": int((values == 0).sum()),
    }


def layer_statistics(gates, experts, weights):
    num_experts, top_k = gates.shape[1], experts.shape[1]
    gates = gates.astype(np.float64)
    load = np.bincount(experts.ravel(), minlength=num_experts).astype(np.float64)
    gate_mass = np.bincount(experts.ravel(), weights=weights.ravel(), minlength=num_experts)
    importance = gates.sum(0)
    entropy = -(gates * np.log(np.maximum(gates, 1e-38))).sum(1)
    falling = -np.sort(-gates, axis=1)
    margin = falling[:, top_k - 1] - (falling[:, top_k] if top_k < num_experts else 0)
    mean_gates = gates.mean(0)
    return {
        "load": load,
        "importance": importance,
        "gate_mass": gate_mass,
        "entropy": entropy,
        "margin": margin,
        "load_stats": spread(load),
        "importance_stats": spread(importance),
        "information": -(mean_gates * np.log(np.maximum(mean_gates, 1e-38))).sum() - entropy.mean(),
        "non_finite": int((~np.isfinite(gates)).sum() + (~np.isfinite(weights)).sum()),
    }


def statistics(run, card):
    patches = slice(card["grid"]["prefix_tokens"], None)
    layers = [
        layer_statistics(*(run[layer[key]][patches] for key in ("gate_probs", "expert_ids", "combine_weights")))
        for layer in card["layers"]
    ]
    return top_five(run[card["logits"]][0], card["labels"]), layers


def whole_way(session, card, path, top_k):
    clock = [time.perf_counter()]
    image = decode(path)
    clock.append(time.perf_counter())
    tensor = preprocess(image, card["input"])
    clock.append(time.perf_counter())
    run = infer(session, card, tensor, top_k)
    clock.append(time.perf_counter())
    predictions, _ = statistics(run, card)
    clock.append(time.perf_counter())
    stages = dict(zip(["decode", "preprocess", "inference", "statistics"], np.diff(clock).tolist()))
    return {**stages, "total": clock[-1] - clock[0]}, tensor, predictions


def bench(session, card, path, top_k, runs):
    stages, by_top_k = {}, {}
    extremes = [card["top_k"]["min"], card["top_k"]["max"]] if card.get("top_k") else []
    for round_number in range(WARM_UP_ROUNDS + runs):
        seconds, tensor, _ = whole_way(session, card, path, top_k)
        counted = round_number >= WARM_UP_ROUNDS
        for extreme in extremes:
            started = time.perf_counter()
            infer(session, card, tensor, extreme)
            if counted:
                by_top_k.setdefault(extreme, []).append(time.perf_counter() - started)
        if counted:
            for stage, value in seconds.items():
                stages.setdefault(stage, []).append(value)
    timing = lambda samples: {"median": float(np.median(samples)), "min": min(samples), "samples": samples}
    return {
        "stages": {stage: timing(samples) for stage, samples in stages.items()},
        "inference_by_top_k": {extreme: timing(samples) for extreme, samples in by_top_k.items()},
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("image")
    parser.add_argument("--model", required=True)
    parser.add_argument("--top-k", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--once", action="store_true")
    args = parser.parse_args()
    session, card = open_session(args.model, args.threads)
    top_k = args.top_k or (card["top_k"]["default"] if card.get("top_k") else None)
    if args.once:
        print(whole_way(session, card, args.image, top_k)[2])
    else:
        report = bench(session, card, args.image, top_k, args.runs)
        json.dump({"onnxruntime": onnxruntime.__version__, **report}, sys.stdout)


if __name__ == "__main__":
    main()
