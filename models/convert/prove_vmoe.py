"""Compares converted models with the published V-MoE code, on checkpoints of random weights that it writes.

    PYTHONPATH=vmoe:vision_transformer python prove_vmoe.py write SCRATCH   # with JAX, Flax, both repositories
    python prove_vmoe.py compare SCRATCH                                    # with requirements.txt

`write` makes, for each shape below, SCRATCH/NAME.index and its data files, and what the published model computes for
random images: SCRATCH/NAME.npz. `compare` converts each checkpoint and runs it on ONNX Runtime.
"""

import argparse
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

CLASSES = 1000
VARIANTS = {
    "S/32": {"patch": 32, "dim": 512, "heads": 8, "mlp": 2048, "layers": 8, "sparse": (5, 7)},
    "B/16": {"patch": 16, "dim": 768, "heads": 12, "mlp": 3072, "layers": 12, "sparse": (1, 3, 5, 7, 9, 11)},
}


@dataclass
class Shape:
    """A published shape, and how its mixtures run."""

    variant: str
    size: int
    capacity_factor: float
    pre_logits: bool = False
    group_images: int = 1
    batch_priority: bool = False
    bfloat16: bool = True

    @property
    def sparse(self) -> tuple[int, ...]:
        return VARIANTS[self.variant]["sparse"]

    def options(self) -> list[str]:
        """For convert_vmoe.py."""
        flags = [("--batch-priority", self.batch_priority), ("--float32", not self.bfloat16)]
        return [
            "--capacity-factor",
            str(self.capacity_factor),
            "--group-images",
            str(self.group_images),
            *(flag for flag, wanted in flags if wanted),
        ]


SHAPES = {
    "s32_last2": Shape("S/32", 224, capacity_factor=4.0, pre_logits=True),
    "s32_last2_float32": Shape("S/32", 224, capacity_factor=4.0, pre_logits=True, bfloat16=False),
    "s32_last2_group8": Shape("S/32", 224, capacity_factor=1.05, pre_logits=True, group_images=8),
    "s32_last2_ft": Shape("S/32", 384, capacity_factor=1.5),
    "s32_last2_ft_bpr_float32": Shape("S/32", 384, capacity_factor=0.5, batch_priority=True, bfloat16=False),
    "b16_every2_ft": Shape("B/16", 384, capacity_factor=1.5),
    "b16_every2_ft_float32": Shape("B/16", 384, capacity_factor=1.5, bfloat16=False),
}


def write(scratch: Path, name: str) -> None:
    import jax
    import jax.numpy as jnp
    from vmoe.checkpoints import partitioned
    from vmoe.nn.vit_moe import VisionTransformerMoe

    shape, variant = SHAPES[name], VARIANTS[SHAPES[name].variant]
    patch, dim = variant["patch"], variant["dim"]
    dispatcher = {
        "name": "einsum",
        "bfloat16": shape.bfloat16,
        "capacity_factor": shape.capacity_factor,
        "batch_priority": shape.batch_priority,
    }
    router = {"num_selected_experts": 2, "noise_std": 1.0, "dispatcher": dispatcher}
    group = ((shape.size // patch) ** 2 + 1) * shape.group_images
    moe = {"num_experts": 8, "layers": shape.sparse, "group_size": group, "router": router, "split_rngs": True}
    encoder = {"num_layers": variant["layers"], "mlp_dim": variant["mlp"], "num_heads": variant["heads"], "moe": moe}
    model = VisionTransformerMoe(
        num_classes=CLASSES,
        patch_size=(patch, patch),
        hidden_size=dim,
        encoder=encoder,
        deterministic=True,
        representation_size=dim if shape.pre_logits else None,
        head_bias_init=-math.log(CLASSES),
    )
    rng = np.random.default_rng(0)
    pixels = rng.uniform(-1, 1, (shape.group_images, shape.size, shape.size, 3)).astype(np.float32)
    shapes = jax.eval_shape(model.init, jax.random.PRNGKey(0), jnp.zeros_like(pixels))["params"]
    leaves, structure = jax.tree_util.tree_flatten_with_path(shapes)
    rng = np.random.default_rng(1)
    params = structure.unflatten(
        [jnp.asarray(draw(rng, jax.tree_util.keystr(path), leaf.shape)) for path, leaf in leaves]
    )
    # Scratch folders of one machine: several shards, and large arrays in several chunks, as on many machines.
    partitioned.save_checkpoint(str(scratch / name), {"params": params}, num_shards=4, max_chunk_bytes=1 << 20).get()
    (logits, _), state = model.apply({"params": params}, pixels, capture_intermediates=True, mutable=["intermediates"])
    # How far rounding alone carries: the same code on pixels that differ by 1e-6.
    near = pixels + 1e-6 * rng.standard_normal(pixels.shape).astype(np.float32)
    (nearby, _), _ = model.apply({"params": params}, near, mutable=["intermediates"])
    np.savez(
        scratch / f"{name}.npz",
        pixels=pixels,
        logits=np.asarray(logits),
        nearby=np.asarray(nearby),
        **routing(state["intermediates"], shape.sparse),
    )


def draw(rng: np.random.Generator, name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Random values of a trained network's size, so that the head is not zero and the routers tell tokens apart."""
    if "scale" in name:
        return (1 + 0.1 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1 or "bias" in name:
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if "cls" in name or "pos_embedding" in name:
        return (0.5 * rng.standard_normal(shape)).astype(np.float32)
    fan_in = (
        math.prod(shape[:-1])
        if "embedding" in name
        else shape[0] * (shape[1] if "out" in name and "Mlp" not in name else 1)
    )
    fan_in = shape[1] if "Moe" in name and "Mlp" in name else fan_in
    return ((2.0 if "Router" in name else 1.0) * rng.standard_normal(shape) / fan_in**0.5).astype(np.float32)


def routing(captured: dict, sparse: tuple[int, ...]) -> dict[str, np.ndarray]:
    """Combine weights [T, E] as each mixture's dispatcher holds them: zero where a token does not go to an expert."""
    found = {}
    for i, block in enumerate(sparse):
        dispatcher, _ = captured["Encoder"][f"encoderblock_{block}"]["Moe"]["Router"]["__call__"][0]
        weights = np.asarray(getattr(dispatcher, "dispatcher", dispatcher).combine_weights).sum(-1)
        found[f"weights.{i}"] = weights.reshape(-1, weights.shape[-1])
    return found


def compare(scratch: Path, name: str) -> bool:
    import onnxruntime

    sparse, out = SHAPES[name].sparse, scratch / f"{name}.onnx"
    convert = Path(__file__).with_name("convert_vmoe.py")
    subprocess.run([sys.executable, convert, scratch / name, out, *SHAPES[name].options()], check=True)
    truth = np.load(scratch / f"{name}.npz")
    session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
    logits, *routing = session.run(None, {"pixel_values": truth["pixels"].transpose(0, 3, 1, 2)})
    apart = float(np.abs(logits - truth["logits"]).max())
    same, dropped = True, 0.0
    for i in range(len(sparse)):
        _, ids, weights = routing[3 * i : 3 * i + 3]
        table = np.zeros_like(truth[f"weights.{i}"])
        np.put_along_axis(table, ids, weights, 1)
        same &= bool(((table > 0) == (truth[f"weights.{i}"] > 0)).all())
        dropped += float((weights == 0).mean()) / len(sparse)
    nearby = float(np.abs(truth["nearby"] - truth["logits"]).max())
    print(
        f"{name}: logits of ±{np.abs(truth['logits']).max():.1f} within {apart:.1e} (the published code moves by "
        f"{nearby:.1e} when pixels move by 1e-6); same experts: {same}; assignments dropped: {dropped:.0%}"
    )
    return same and apart <= (1e-3 if SHAPES[name].bfloat16 else 1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["write", "compare"])
    parser.add_argument("scratch", type=Path)
    parser.add_argument("names", nargs="*", default=list(SHAPES), metavar="NAME")
    args = parser.parse_args()
    args.scratch.mkdir(parents=True, exist_ok=True)
    if args.step == "write":
        for name in args.names:
            write(args.scratch, name)
    elif not all([compare(args.scratch, name) for name in args.names]):
        sys.exit("not the same")


if __name__ == "__main__":
    main()
