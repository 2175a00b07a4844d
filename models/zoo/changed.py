"""Writes rows/NAME/changed.npz: what PyTorch computes for input 0 with another k, and with one expert banned.

    python changed.py

For the tests of controls that are edited into an exported graph. Here the model's own choice is changed while it runs:
`topk`, `max` and `argmax` over the experts take another k, or choose by scores in which one expert has −10⁴ and give the
scores as they were.

    k                     0-d int64: the other k; missing where the row has no k
    top_k.NAME            the output NAME with it
    expert                0-d int64: the expert that is banned in every router
    banned.NAME           the output NAME without it
"""

import argparse
import sys

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

import families
import golden
import make
from row import ROWS

# The row, and another k for it: more experts for some, fewer for others, none where k is no number of the rule.
CHANGED = {
    "chain-of-experts": 3,
    "contrib-moe": 3,
    "contrib-moe-swiglu": 1,
    "deepseek-v2": 6,
    "deepseek-v3": 3,
    "deepseek-v4-dynamo": 6,
    "grok": None,
    "hf-gpt-oss-batched-dynamo": 1,
    "hf-llama4-eager-dynamo": 2,
    "hf-olmoe-batched-dynamo": 2,
    "hf-qwen3-batched-torchscript": 2,
    "mixtral": 4,
    "mod-squad": 3,
    "noisy-top-k": 5,
    "peer": 2,
    "swin-moe-cosine": None,
    "switch": None,
    "switch-loop-dynamo": None,
    "variant-ernie": 4,
    "variant-functions": 5,
    "variant-loop": 3,
    "variant-sigmoid": 1,
    "vmoe": 1,
    "yolo-moe": 1,
}


class Changed(TorchFunctionMode):
    """Changes choices among `experts` of which `k` are taken."""

    def __init__(self, choices: set[tuple[int, int]], k: int | None = None, banned: int | None = None):
        super().__init__()
        self.choices, self.k, self.banned = choices, k, banned
        self.times = 0

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name not in ("topk", "max", "argmax") or not isinstance(args[0], torch.Tensor):
            return func(*args, **kwargs)
        scores, more = args[0], list(args[1:])
        k = (more.pop(0) if more else kwargs.pop("k")) if name == "topk" else 1
        dim = kwargs.get("dim", more[0] if more else -1 if name == "topk" else None)
        if dim is None or (scores.shape[dim], k) not in self.choices or not scores.is_floating_point():
            return func(*args, **(kwargs | ({"k": k} if name == "topk" and len(args) == 1 else {})))
        self.times += 1
        biased = scores.clone()
        if self.banned is not None:
            biased.select(dim, self.banned).sub_(1e4)
        ids = torch.sort(biased, dim=dim, descending=True, stable=True).indices.narrow(dim, 0, self.k or k)
        values = scores.gather(dim, ids)
        if name == "topk":
            return torch.return_types.topk((values, ids))
        if name == "argmax":
            return ids if kwargs.get("keepdim") else ids.squeeze(dim)
        return torch.return_types.max((values.squeeze(dim), ids.squeeze(dim)))


def changed(name: str, other: int | None) -> dict[str, np.ndarray]:
    """All arrays of changed.npz."""
    row = ROWS[name]
    model, inputs = row.model(), row.inputs(0)
    before, seen = golden.run(model, inputs)
    cards = [module.card for _, module in golden.routers(model)]
    # Product keys choose among pairs of half keys: only the last of their choices is another one.
    choices = {(card.top_k**2 if card.rule == "product_key" else card.num_experts, card.top_k) for card in cards}

    def run(change: Changed) -> list[torch.Tensor]:
        for module in model.modules():
            if change.k is not None and isinstance(getattr(module, "top_k", None), int):
                module.top_k = change.k
        with torch.no_grad(), change:
            outputs = model(*inputs.values())
        outputs = list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]
        assert change.times > 0 and not all(torch.equal(a, b) for a, b in zip(outputs, before, strict=True)), name
        return outputs

    arrays = {}
    if not {card.rule for card in cards} & {"product_key", "contrib_moe"}:
        ids = next(iter(seen.values())).expert_ids.flatten()
        expert = int(ids.bincount().argmax())
        without = run(Changed(choices, banned=expert))
        arrays |= {"expert": np.array(expert)}
        arrays |= {f"banned.{n}": o.numpy() for n, o in zip(row.outputs, without, strict=True)}
    if other is not None:
        with_k = run(Changed(choices | {(experts, other) for experts, _ in choices}, k=other))
        arrays |= {"k": np.array(other)} | {f"top_k.{n}": o.numpy() for n, o in zip(row.outputs, with_k, strict=True)}
    return arrays


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    families.load()
    for name, other in CHANGED.items():
        try:
            arrays = changed(name, other)
        except Exception as error:  # one row must not hide what the others say
            sys.exit(f"{name}: {type(error).__name__}: {error}")
        np.savez(make.OUT / name / "changed.npz", **arrays)
        print(f"{name}: {', '.join(arrays)}")


if __name__ == "__main__":
    main()
