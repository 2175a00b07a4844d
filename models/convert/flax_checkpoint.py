"""Reads the sharded checkpoints of google-research/vmoe without JAX.

PREFIX.index is a msgpack map {"shard_count", "index", "version"}: the tree of parameters, in whose leaves stand an
array's shape and type, the slices it was cut into, and the shard that holds each slice. PREFIX.data-00000-of-00004 and
so on are msgpack maps from the number of a leaf (counted in the order of sorted keys) to its chunks with their slices.
"""

from dataclasses import dataclass
from pathlib import Path

import msgpack
import numpy as np

NDARRAY, SHAPED_ARRAY, SLICE_ND, INDEX_INFO = 1, 4, 6, 8
CHUNKS_KEY = "__msgpack_array_chunk_a87ca2__"
KNOWN_VERSIONS = (None, "20220622")

Bounds = tuple[tuple[int, int], ...]  # start and stop of each axis


class CheckpointError(Exception):
    """The files are not what their index says; the text says what to do."""


@dataclass
class Leaf:
    """What the index says of one array."""

    shape: tuple[int, ...]
    dtype: str
    slices: list[Bounds]
    shards: list[int]


def read(prefix: Path) -> dict:
    """The whole tree: nested dicts of arrays, all in float32 or their own integer type."""
    index = unpack(Path(f"{prefix}.index"))
    if index.get("version") not in KNOWN_VERSIONS:
        raise CheckpointError(f"{prefix}.index has version {index['version']}; known are {KNOWN_VERSIONS}")
    leaves = flatten(index["index"])
    arrays = [np.empty(leaf.shape, numpy_type(leaf.dtype)) for _, leaf in leaves]
    filled = [0] * len(leaves)
    for shard in range(index["shard_count"]):
        path = Path(f"{prefix}.data-{shard:05d}-of-{index['shard_count']:05d}")
        for key, chunks in unpack(path).items():
            if key == CHUNKS_KEY:
                continue
            for parts, bounds in chunks:
                place(int(key), leaves, arrays, np.concatenate([as_float(part) for part in parts]), bounds, path)
                filled[int(key)] += 1
    for (name, leaf), count in zip(leaves, filled, strict=True):
        if count != len(leaf.slices):
            raise CheckpointError(
                f"{name} has {count} of {len(leaf.slices)} chunks: download all data files of {prefix}"
            )
    return unflatten([name for name, _ in leaves], arrays)


def place(number: int, leaves: list, arrays: list[np.ndarray], flat: np.ndarray, bounds: Bounds, path: Path) -> None:
    """Puts one chunk where it belongs, if the index knows of it."""
    name, leaf = leaves[number]
    if bounds not in leaf.slices:
        raise CheckpointError(
            f"{path.name} holds {bounds} of {name}, which the index does not know: files of two checkpoints?"
        )
    where = tuple(slice(start, stop) for start, stop in bounds)
    arrays[number][where] = flat.reshape([stop - start for start, stop in bounds])


def unpack(path: Path) -> dict:
    """One msgpack file; its own types become arrays, bounds and leaves."""
    if not path.exists():
        raise CheckpointError(f"{path} is not there: download the index file and all data files of the checkpoint")
    return msgpack.unpackb(path.read_bytes(), ext_hook=decode, raw=False, strict_map_key=False)


def decode(code: int, data: bytes):
    if code == NDARRAY:
        shape, name, content = msgpack.unpackb(data, raw=True)
        return np.frombuffer(content, stored_type(name.decode())).reshape(shape)
    if code == SHAPED_ARRAY:
        shape, name, *_ = msgpack.unpackb(data, raw=True)
        return tuple(shape), name.decode()
    if code == SLICE_ND:
        return tuple(tuple(msgpack.unpackb(axis, raw=True)[:2]) for axis in msgpack.unpackb(data, raw=True))
    if code == INDEX_INFO:
        shape, slices, shards = msgpack.unpackb(data, raw=True)
        return Leaf(*decode(SHAPED_ARRAY, shape), [decode(SLICE_ND, each) for each in slices], list(shards))
    return msgpack.ExtType(code, data)


def stored_type(name: str) -> np.dtype:
    """bfloat16 lies as 16-bit integers here, since NumPy has no such type."""
    return np.dtype(np.uint16 if name == "bfloat16" else name)


def numpy_type(name: str) -> np.dtype:
    return np.dtype(np.float32 if name in ("bfloat16", "float16") else name)


def as_float(array: np.ndarray) -> np.ndarray:
    """bfloat16 bits to float32; all else as it is."""
    return (array.astype(np.uint32) << 16).view(np.float32) if array.dtype == np.uint16 else array


def flatten(tree: dict, path: str = "") -> list[tuple[str, Leaf]]:
    """Leaves by name, in the order of sorted keys; empty branches have none."""
    if isinstance(tree, Leaf):
        return [(path, tree)]
    return [leaf for key in sorted(tree or {}) for leaf in flatten(tree[key], f"{path}/{key}" if path else key)]


def unflatten(names: list[str], arrays: list[np.ndarray]) -> dict:
    tree: dict = {}
    for name, array in zip(names, arrays, strict=True):
        *branches, last = name.split("/")
        branch = tree
        for key in branches:
            branch = branch.setdefault(key, {})
        branch[last] = array
    return tree
