"""One module per family of mixtures. Importing a family registers its rows, in the order of this list."""

import importlib

FAMILIES = [
    "adaptive_mixtures",
    "noisy_top_k",
    "switch",
    "gshard",
    "capacity",
    "vmoe",
    "expert_choice",
    "soft_moe",
    "soft_moe_branches",
    "mixtral",
    "grok",
    "deepseek",
    "peer",
    "chain_of_experts",
    "top_p",
    "swin_moe",
    "partitions",
    "limoe",
    "multi_task",
    "detection",
    "backbones",
    "vision_language",
    "contrib",
    "dense",
    "hugging_face",
    "frozen",
    "variants",
    "forms",
    "cond_conv",
    "blocks",
    "fixed",
]


def load() -> None:
    for family in FAMILIES:
        importlib.import_module(f"families.{family}")
