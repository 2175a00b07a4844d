"""Writes src/model/operators.txt: the operators that ONNX Runtime knows.

    pip install onnxruntime==1.31.1
    python scripts/list-operators.py
"""

import pathlib
import textwrap
from collections import defaultdict

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as state

first_versions = defaultdict(dict)
for schema in state.get_all_operator_schema():
    versions = first_versions[schema.domain or "ai.onnx"]
    versions[schema.name] = min(schema.since_version, versions.get(schema.name, schema.since_version))

lines = [
    f"# What ONNX Runtime {onnxruntime.__version__} knows: each domain's operators, and the first version of the operator set that has them.",
    "# scripts/list-operators.py wrote this.",
]
for domain, versions in sorted(first_versions.items()):
    words = " ".join(f"{name} {version}" for name, version in sorted(versions.items()))
    lines += [f"{domain}:"] + textwrap.wrap(words, 118, initial_indent="  ", subsequent_indent="  ")
path = pathlib.Path(__file__).parent.parent / "src" / "model" / "operators.txt"
path.write_text("\n".join(lines) + "\n")
