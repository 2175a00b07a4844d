"""Makes rows of the zoo: model.onnx, golden.npz and row.json under rows/NAME.

    python make.py [ROW…]      all rows that are kept, or those named (a trailing * matches the rest)
    python make.py --list

A row whose ONNX file does not compute what PyTorch computes is not hidden: its row.json says so, with the difference.
"""

import argparse
import fnmatch
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import torch

import export
import families
import golden
from row import ROWS, Row

OUT = Path(__file__).parent / "rows"
GENERATED = Path(__file__).parent / "generated"
INPUTS = 3
LIMIT_BYTES = 2_000_000


def make(row: Row) -> bool:
    """Writes the row's three files; False where the row is not what it claims to be."""
    model = row.model()
    runs = [(inputs, *golden.run(model, inputs)) for inputs in map(row.inputs, range(INPUTS))]
    proto = export.export(row, model, runs[0][0])
    export.strip_traces(proto)
    onnx.checker.check_model(proto, full_check=True)
    differences = [export.difference(proto, inputs, outputs) for inputs, outputs, _ in runs]
    right = max(differences) <= row.tolerance or row.random

    folder = (GENERATED if row.generated else OUT) / row.name
    folder.mkdir(parents=True, exist_ok=True)
    content = proto.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    np.savez(folder / "golden.npz", **golden_arrays(row, runs))
    (folder / "row.json").write_text(json.dumps(description(row, proto, model, runs, differences), indent=1) + "\n")

    steady = row.random or all(golden.steady(model, inputs, seen) for inputs, _, seen in runs)
    ok = right != row.frozen and (row.generated or len(content) <= LIMIT_BYTES) and steady
    print(
        f"{'ok  ' if ok else 'FAIL'} {row.name}: {len(content) / 1e3:.0f} kB, {len(proto.graph.node)} nodes, "
        f"{len(golden.routers(model))} routers, difference {max(differences):.1e}"
        f"{'' if steady else ', unsteady: give it another seed'}{', frozen' if row.frozen else ''}",
        flush=True,
    )
    return ok


def attempt(row: Row) -> bool:
    """`make`, but an exporter that gives up does not keep the other rows from being made."""
    try:
        return make(row)
    except Exception as error:
        print(f"FAIL {row.name}: {type(error).__name__}: {str(error).strip()[:300]}", flush=True)
        return False


def golden_arrays(row: Row, runs: list) -> dict[str, np.ndarray]:
    """All tensors of golden.npz by name; routers are numbered in the order in which they ran."""
    tensors = {}
    for i, (inputs, outputs, seen) in enumerate(runs):
        tensors |= {f"input.{i}.{name}": value.numpy() for name, value in inputs.items()}
        tensors |= {f"output.{i}.{name}": value.numpy() for name, value in zip(row.outputs, outputs, strict=True)}
        for r, routing in enumerate(seen.values()):
            tensors |= {f"router.{i}.{r}.{name}": value for name, value in golden.arrays(routing).items()}
    return tensors


def description(row: Row, proto: onnx.ModelProto, model: torch.nn.Module, runs: list, differences: list[float]) -> dict:
    """row.json."""
    mean, std = row.normalisation
    cards = {name: module.card for name, module in golden.routers(model)}
    first = runs[0][2]
    assert all(list(seen) == list(first) for _, _, seen in runs) and set(first) == set(cards), (
        list(first),
        list(cards),
    )
    return {
        "name": row.name,
        "title": row.title,
        "paper": row.paper,
        "rule_text": row.rule_text,
        "exporter": row.exporter,
        "opset": next(o.version for o in proto.opset_import if o.domain == ""),
        "notes": row.notes,
        "known_limits": row.known_limits,
        "frozen": row.frozen,
        "random": row.random,
        "approximate": row.approximate,
        "max_difference": [float(f"{value:.2g}") if np.isfinite(value) else None for value in differences],
        "tolerance": row.tolerance,
        "image_input": {
            "name": "pixel_values",
            "layout": row.layout,
            "height": row.image,
            "width": row.image,
            "images": row.batch,
            "mean": mean,
            "std": std,
        },
        "outputs": row.outputs,
        "grid": row.grid,
        "routers": [cards[name].as_json(name, golden.tokens(routing)) for name, routing in first.items()],
        **({"fixed": row.fixed} if row.fixed else {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", metavar="ROW")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    families.load()
    kept = [name for name, row in ROWS.items() if not row.generated]
    chosen = (
        [name for name in ROWS if any(fnmatch.fnmatch(name, wanted) for wanted in args.rows)] if args.rows else kept
    )
    if args.list:
        print("\n".join(chosen))
        return
    if args.rows and not chosen:
        sys.exit(f"no row is named {' '.join(args.rows)}; --list shows them")
    torch.set_num_threads(1)
    failed = [name for name in chosen if not attempt(ROWS[name])]
    if failed:
        sys.exit(f"not as claimed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
