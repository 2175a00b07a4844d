"""Golden values: what PyTorch computes, recorded by forward hooks on the model that is exported."""

import numpy as np
import torch
from torch import Tensor, nn

from routing import RouterCard, Routing


def routers(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Modules with a card, in the order in which the model holds them."""
    return [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "card", None), RouterCard)
    ]


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


def steady(model: nn.Module, inputs: dict[str, Tensor], seen: dict[str, Routing]) -> bool:
    """Whether a change of the image by 2e-5 leaves every choice as it was.

    Otherwise another runtime's rounding could choose differently, and the row should get another seed.
    """
    noise = torch.randn(inputs["pixel_values"].shape, generator=torch.Generator().manual_seed(0))
    again = run(
        model, inputs | {"pixel_values": inputs["pixel_values"] + 2e-5 * noise.to(inputs["pixel_values"].dtype)}
    )[1]
    choices = ("expert_ids", "token_ids", "kept")
    pairs = [(getattr(seen[name], choice), getattr(again[name], choice)) for name in seen for choice in choices]
    return all(first is None or torch.equal(first, second) for first, second in pairs)
