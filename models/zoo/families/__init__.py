"""One module per family of mixtures. Importing a family registers its rows, in the order of this list."""

import importlib

FAMILIES = ["switch", "mixtral", "vmoe", "expert_choice", "soft_moe", "deepseek", "hugging_face", "frozen"]


def load() -> None:
    for family in FAMILIES:
        importlib.import_module(f"families.{family}")
