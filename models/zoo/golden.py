"""Golden values: what PyTorch computes, recorded by forward hooks on the model that is exported."""

import numpy as np
import torch
from torch import Tensor, nn

from routing import RouterCard, Routing


def routers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules with a card, in the order in which the model holds them."""
    return [(name, module) for name, module in model.named_modules() if isinstance(getattr(module, "card", None), RouterCard)]


def run(model: nn.Module, inputs: dict[str, Tensor]) -> tuple[list[Tensor], dict[str, Routing]]:
    """Outputs, and the routing of every router by its name in the order in which they ran."""
    seen: dict[str, Routing] = {}

    def recorder(name: str, module: nn.Module):
        def hook(_, args, output):
            assert name not in seen, f"{name} ran twice"
            reads = getattr(module, "read_routing", None)
            seen[name] = reads(args, output) if reads else output

        return hook

    handles = [module.register_forward_hook(recorder(name, module)) for name, module in routers(model)]
    with torch.no_grad():
        outputs = model(*inputs.values())
    for handle in handles:
        handle.remove()
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs], seen


def arrays(routing: Routing) -> dict[str, np.ndarray]:
    """The values that the rule computes, float32, int64 or bool."""
    kept = {name: value.detach() for name, value in routing._asdict().items() if value is not None}
    return {name: (value.float() if value.is_floating_point() else value).numpy() for name, value in kept.items()}


def tokens(routing: Routing) -> int:
    """T. Expert choice has no tensor with a row per token but its logits or probabilities."""
    per_token = (routing.gate_logits, routing.gate_probs, routing.expert_ids, routing.dispatch)
    return next(value.shape[0] for value in per_token if value is not None)


def margin(routing: Routing) -> float:
    """The least distance, over tokens, between the scores of the last expert chosen and the best one left out.

    Below 1e-5 another runtime's rounding could choose otherwise, and the row should get another seed.
    """
    by_rank = (routing.selection_scores, routing.gate_probs, routing.gate_logits)
    scores, ids = next((value for value in by_rank if value is not None), None), routing.expert_ids
    if scores is None or ids is None or ids.ndim != 2 or ids.shape[1] >= scores.shape[1]:
        return float("inf")
    ordered = scores.float().sort(-1, descending=True).values
    return float((ordered[:, :-1] - ordered[:, 1:])[:, : ids.shape[1]].min())
