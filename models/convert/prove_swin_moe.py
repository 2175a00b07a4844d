"""Compares converted models with the published Swin-MoE code, on per-rank checkpoints of random weights that it writes.

    PYTHONPATH=Swin-Transformer:tutel python prove_swin_moe.py write SCRATCH      # with both repositories, Tutel built
    python prove_swin_moe.py compare SCRATCH                                      # with requirements.txt

`write` starts one process per rank (gloo, no GPU). Each saves SCRATCH/NAME.pth.rank{r} with the published function and
computes, with its experts spread over all ranks, the logits of its own images: SCRATCH/NAME.rank{r}.npz.
"""

import argparse
import logging
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np

CLASSES = 1000


@dataclass
class Shape:
    """The published small model with fewer blocks in stage 2, and experts spread over `ranks`."""

    ranks: int
    local_experts: int = 1  # negative: so many ranks share an expert
    top_k: int = 1
    cosine: bool = False
    normalize_gate: bool = False
    images: int = 1

    def model(self) -> dict:
        return {
            "img_size": 192,
            "embed_dim": 96,
            "depths": [2, 2, 4, 2],
            "num_heads": [3, 6, 12, 24],
            "window_size": 12,
            "mlp_fc2_bias": False,
            "init_std": 0.02,
            "moe_blocks": [[-1], [-1], [1, 3], [1]],
            "num_classes": CLASSES,
            "num_local_experts": self.local_experts,
            "top_value": self.top_k,
            "capacity_factor": 1.25,
            "cosine_router": self.cosine,
            "normalize_gate": self.normalize_gate,
            "is_gshard_loss": False,
        }

    def options(self) -> list[str]:
        """For convert_swin_moe.py."""
        flags = ["--normalize-gate"] if self.normalize_gate else []
        return ["--top-k", str(self.top_k), "--group-images", str(self.images), *flags]


SHAPES = {
    "swin_moe_4expert_4gpu": Shape(4),
    "swin_moe_8expert_4gpu_top2": Shape(4, local_experts=2, top_k=2, normalize_gate=True),
    "swin_moe_2expert_4gpu": Shape(4, local_experts=-2, images=2),
    "swin_moe_cosine_router_4expert_4gpu": Shape(4, cosine=True),
}


def write(scratch: Path, name: str, rank: int) -> None:
    """One rank."""
    import torch
    import torch.distributed as dist
    import utils_moe
    from models.swin_transformer_moe import SwinTransformerMoE

    torch.set_num_threads(1)
    shape = SHAPES[name]
    dist.init_process_group("gloo", rank=rank, world_size=shape.ranks)
    model = SwinTransformerMoE(**shape.model()).eval()
    for parameter, values in model.named_parameters():
        own = rank + 1 if "_moe_layer.experts" in parameter else 0
        generator = torch.Generator().manual_seed(own * 100_003 + sum(map(ord, parameter)))
        values.data = draw(parameter, values, generator)
        model.add_param_to_skip_allreduce(parameter) if own else None
    config = SimpleNamespace(OUTPUT=str(scratch), TRAIN=SimpleNamespace(MOE=SimpleNamespace(SAVE_MASTER=False)))
    utils_moe.save_checkpoint(config, 0, model, 0, None, None, None, logging.getLogger(), zero_redundancy=True)
    (scratch / f"ckpt_epoch_0.pth.rank{rank}").rename(scratch / f"{name}.pth.rank{rank}")
    if rank == 0:
        (scratch / "ckpt_epoch_0.pth.master").rename(scratch / f"{name}.pth.master")
    pixels = torch.randn(shape.images, 3, 192, 192, generator=torch.Generator().manual_seed(rank))
    gates = []
    for layer in (module for module in model.modules() if hasattr(module, "gates")):
        layer.gates[0].register_forward_hook(lambda _, __, logits: gates.append(logits.softmax(-1).numpy()))
    with torch.no_grad():
        logits, _ = model(pixels)
    found = {f"probs.{i}": probs for i, probs in enumerate(gates)}
    np.savez(scratch / f"{name}.rank{rank}.npz", pixels=pixels.numpy(), logits=logits.numpy(), **found)
    dist.barrier()


def draw(name: str, values, generator):
    """Random values of a trained network's size, the same on every rank but for its own experts."""
    import torch

    noise = torch.randn(values.shape, generator=generator)
    if "norm" in name and name.endswith("weight"):
        return 1 + 0.1 * noise
    if "batched_fc2_bias" in name or values.ndim == 1 or "bias" in name:
        return torch.zeros_like(values) if "batched_fc2_bias" in name else 0.1 * noise
    fan_in = values.shape[2] if "batched_fc1_w" in name else values[0].numel() if values.ndim != 3 else values.shape[1]
    return noise * (3.0 if "gates" in name else 1.0) / fan_in**0.5


def compare(scratch: Path, name: str) -> bool:
    import onnxruntime

    shape, out = SHAPES[name], scratch / f"{name}.onnx"
    convert = Path(__file__).with_name("convert_swin_moe.py")
    subprocess.run([sys.executable, convert, scratch / f"{name}.pth", out, *shape.options()], check=True)
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    apart, same, dropped = 0.0, True, []
    for rank in range(shape.ranks):
        truth = np.load(scratch / f"{name}.rank{rank}.npz")
        logits, *routing = session.run(None, {"pixel_values": truth["pixels"]})
        apart = max(apart, float(np.abs(logits - truth["logits"]).max()))
        for i in range(len(routing) // 3):
            best = np.argsort(-truth[f"probs.{i}"], 1)[:, : shape.top_k]
            same &= bool((best == routing[3 * i + 1]).all())
            dropped.append(float((routing[3 * i + 2] == 0).mean()))
    print(
        f"{name}: logits of ±{np.abs(truth['logits']).max():.1f} within {apart:.1e}; same experts: {same}; "
        f"assignments dropped: {np.mean(dropped):.0%}"
    )
    return same and apart <= 1e-4


def start_ranks(scratch: Path, name: str) -> None:
    environment = os.environ | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29533", "LOCAL_RANK": "0"}
    command = [sys.executable, __file__, "rank", scratch, name]
    ranks = [
        subprocess.Popen(
            [*command, str(rank)], env=environment | {"RANK": str(rank), "WORLD_SIZE": str(SHAPES[name].ranks)}
        )
        for rank in range(SHAPES[name].ranks)
    ]
    if any([rank.wait() for rank in ranks]):
        sys.exit(f"{name}: a rank failed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["write", "compare", "rank"])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    if args.step == "rank":
        return write(args.scratch, args.names[0], int(args.names[1]))
    names = args.names or list(SHAPES)
    if args.step == "write":
        for name in names:
            start_ranks(args.scratch, name)
    elif not all([compare(args.scratch, name) for name in names]):
        sys.exit("not the same")


if __name__ == "__main__":
    main()
