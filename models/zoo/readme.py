"""The table of rows in README.md, written from the rows' own descriptions.

python readme.py
"""

import json
from pathlib import Path

HERE = Path(__file__).parent
BEGIN, END = "<!-- rows: written by readme.py -->\n", "<!-- end of rows -->\n"

SEEN = {
    "soft": "the weights of every gate",
    "soft_moe": "the weight of every expert; of every slot, the patches that it mixes and those that take from it",
    "expert_choice": "how many experts, and which, took each patch",
    "product_key": "the experts chosen of thousands, of all heads together: the busiest coloured, any found by its number",
    "top_p": "how many experts each patch took",
    "threshold": "how many experts each patch took",
    "contrib_moe": "experts and weights, computed again outside of the node and marked so",
}


def what_there_is_to_see(row: dict) -> str:
    """What a picture of this row can show of its routing."""
    if row.get("fixed"):
        return "a classification; in the model sheet, that a fixed rule routes, and what each expert takes"
    if not row["routers"]:
        return "nothing: a classification, and what was looked for"
    first = row["routers"][0]
    parts = [SEEN.get(first["rule"], "experts and weights of each patch")]
    if first["per_image"]:
        parts[0] = "one bar per image: the weight of every expert"
    if first["capacity"] and first["rule"] != "expert_choice":
        parts.append("drops")
    for key, text in (
        ("task", "a tab per task"),
        ("iteration", "iterations of one layer"),
        ("modalities", "the image's tokens; those of the text are left out"),
    ):
        if key in first:
            parts.append(text)
    if first["shared_experts"]:
        parts.append("shared experts apart")
    if row["frozen"]:
        parts.append("a warning: the export lost experts")
    return "; ".join(parts)


def table() -> str:
    lines = ["| row | architecture, paper | rule | to be seen | known limits |", "|---|---|---|---|---|"]
    for path in sorted((HERE / "rows").glob("*/row.json")):
        row = json.loads(path.read_text())
        limits = " ".join(filter(None, [row["notes"] if row["frozen"] else "", row["known_limits"]]))
        lines.append(
            f"| `{row['name']}` | {row['title']}. {row['paper']} | {row['rule_text']} | "
            f"{what_there_is_to_see(row)} | {limits} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    readme = HERE / "README.md"
    text = readme.read_text()
    before, rest = text.split(BEGIN)
    readme.write_text(before + BEGIN + "\n" + table() + "\n" + END + rest.split(END)[1])


if __name__ == "__main__":
    main()
