"""Top-p gating (Huang et al. 2024, arXiv:2403.07652): a token takes the fewest experts whose probabilities reach τ."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear, stacked
from row import add
from vit import TinyViT

DIM, HIDDEN, EXPERTS = 32, 32, 8


class TopPRouter(nn.Module):
    """Experts sorted by probability; one is kept while the probabilities before it add up to less than τ."""

    def __init__(self, threshold: float):
        super().__init__()
        self.gate = gate_linear(DIM, EXPERTS)
        self.threshold = threshold
        self.card = RouterCard("top_p", EXPERTS, None, extra={"threshold": threshold})

    def forward(self, x: Tensor) -> Routing:
        logits = self.gate(x)
        probs = logits.softmax(-1)
        ordered, ids = probs.sort(-1, descending=True)
        kept = ordered.cumsum(-1) - ordered < self.threshold
        return Routing(logits, probs, ids, ordered * kept, kept)


class TopPMoe(nn.Module):
    """All experts on all tokens; the weights of those not kept are zero."""

    def __init__(self, threshold: float = 0.6):
        super().__init__()
        self.router = TopPRouter(threshold)
        self.up, self.down = stacked(EXPERTS, DIM, HIDDEN), stacked(EXPERTS, HIDDEN, DIM)

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        routing = self.router(flat)
        table = torch.zeros_like(routing.gate_probs).scatter(1, routing.expert_ids, routing.combine_weights)
        inner = F.silu(torch.einsum("td,edh->teh", flat, self.up))
        return torch.einsum("te,teh,ehd->td", table, inner, self.down).view(x.shape)


PAPER = "Huang et al.: Harder Tasks Need More Experts (ACL 2024), arXiv:2403.07652"
TEXT = "Softmax; experts in the order of their probabilities until these add up to 0.6; weights not renormalised."
NOTES = (
    "Golden expert_ids has all experts, best first; kept says which of them the token takes; other weights are zero."
)
for EXPORTER in ("torchscript", "dynamo"):
    add(
        name="top-p" if EXPORTER == "torchscript" else "top-p-dynamo",
        title=f"Top-p gating, {EXPORTER}",
        paper=PAPER,
        rule_text=TEXT,
        exporter=EXPORTER,
        opset=17 if EXPORTER == "torchscript" else None,
        notes=NOTES,
        build=lambda: TinyViT([TopPMoe(), TopPMoe()], DIM),
        known_limits="k differs from token to token.",
    )
