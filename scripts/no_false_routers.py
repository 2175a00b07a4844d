"""Demands that no router is found in the test models of the Python package `onnx`, which have none.

    python3 -m venv scratch && scratch/bin/pip install onnx==1.22.0
    cargo build --release --no-default-features
    scratch/bin/python scripts/no_false_routers.py target/release/moescope
"""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx.backend.test

AT_LEAST = 100


def inspect(moescope: str, model: Path) -> tuple[Path, list | None]:
    """The routers of a model; None where the program does not take it for a model."""
    run = subprocess.run([moescope, "inspect", "--json", model], capture_output=True, text=True)
    if run.returncode not in (0, 1):
        sys.exit(f"{model}: exit code {run.returncode}\n{run.stderr}")
    return model, json.loads(run.stdout)["routers"] if run.returncode == 0 else None


def main() -> None:
    models = sorted((Path(onnx.backend.test.__file__).parent / "data").rglob("*.onnx"))
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(lambda model: inspect(sys.argv[1], model), models))
    taken = [(model, routers) for model, routers in found if routers is not None]
    false = [f"{model}: {[router['rule'] for router in routers]}" for model, routers in taken if routers]
    print(f"{len(models)} models, {len(models) - len(taken)} refused, {len(false)} with routers")
    if len(taken) < AT_LEAST or false:
        sys.exit("\n".join(false) or f"only {len(taken)} models were looked at")


if __name__ == "__main__":
    main()
