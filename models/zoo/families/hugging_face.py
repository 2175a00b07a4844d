"""Real mixture blocks of Hugging Face `transformers` (Apache-2.0), with random weights, inside the small ViT.

The blocks are used as the package ships them, in the two ways in which they run their experts: `eager` loops over the
experts that were hit, `batched_mm` gathers the weights of every token's experts. Tracing freezes how often the loop of
`eager` runs: the TorchScript export works only for images that hit as many experts as the traced one, and torch.export
refuses the loop. Those rows say `frozen`.
"""

import torch
from torch import Tensor, nn
from transformers import (
    DeepseekV3Config,
    GptOssConfig,
    Llama4TextConfig,
    MixtralConfig,
    OlmoeConfig,
    PhimoeConfig,
    Qwen3MoeConfig,
)
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3MoE
from transformers.models.gpt_oss.modeling_gpt_oss import GptOssMLP
from transformers.models.llama4.modeling_llama4 import Llama4TextMoe
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
from transformers.models.olmoe.modeling_olmoe import OlmoeSparseMoeBlock
from transformers.models.phimoe.modeling_phimoe import PhimoeSparseMoeBlock
from transformers.models.qwen3_moe.modeling_qwen3_moe import Qwen3MoeSparseMoeBlock

from routing import RouterCard, Routing
from row import add
from vit import RmsNorm, TinyViT

DIM, HIDDEN = 16, 24


class FirstOutput(nn.Module):
    """Some blocks return router scores too."""

    def __init__(self, block: nn.Module):
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        out = self.block(x)
        return (out[0] if isinstance(out, tuple) else out).view(x.shape)


def read_softmax(args, output) -> Routing:
    logits, weights, ids = output
    return Routing(logits, logits.float().softmax(-1), ids, weights)


def read_kept_only(args, output) -> Routing:
    logits, weights, ids = output
    return Routing(gate_logits=logits, expert_ids=ids, combine_weights=weights)


def read_deepseek_v3(router: nn.Module):
    """topk is asked for unsorted there; here the best comes first."""

    def read(args, output) -> Routing:
        logits, weights, ids = output
        scores = logits.sigmoid()
        choice = scores + router.e_score_correction_bias
        order = choice.gather(1, ids).argsort(-1, descending=True)
        return Routing(logits, scores, ids.gather(1, order), weights.gather(1, order))

    return read


def read_llama4(args, output) -> Routing:
    scores, logits = output
    weights, ids = scores.topk(1, dim=-1)
    return Routing(gate_logits=logits, gate_probs=scores, expert_ids=ids, combine_weights=weights)


def fill(block: nn.Module) -> None:
    """Random weights of a useful size; the package leaves some of them unset or zero."""
    for name, tensor in [*block.named_parameters(), *block.named_buffers()]:
        fan_in = DIM if tensor.ndim < 3 or DIM in tensor.shape[1:] and tensor.shape[-1] != DIM else HIDDEN
        spread = 2.0 if "gate.weight" in name or "router.weight" in name else 1.0
        with torch.no_grad():
            tensor.copy_(
                torch.randn(tensor.shape) * (0.1 if tensor.ndim < 2 or "bias" in name else spread / fan_in**0.5)
            )


def mixtral(experts: str):
    config = MixtralConfig(hidden_size=DIM, intermediate_size=HIDDEN, num_local_experts=8, num_experts_per_tok=2)
    config._experts_implementation = experts
    block = MixtralSparseMoeBlock(config)
    return block, block.gate, RouterCard("softmax_then_top_k_renormalized", 8, 2), read_softmax


def qwen3(experts: str):
    config = Qwen3MoeConfig(
        hidden_size=DIM, moe_intermediate_size=HIDDEN, num_experts=8, num_experts_per_tok=3, norm_topk_prob=True
    )
    config._experts_implementation = experts
    block = Qwen3MoeSparseMoeBlock(config)
    return block, block.gate, RouterCard("softmax_then_top_k_renormalized", 8, 3), read_softmax


def olmoe(experts: str):
    config = OlmoeConfig(
        hidden_size=DIM, intermediate_size=HIDDEN, num_experts=8, num_experts_per_tok=4, norm_topk_prob=False
    )
    config._experts_implementation = experts
    block = OlmoeSparseMoeBlock(config)
    return block, block.gate, RouterCard("softmax_then_top_k", 8, 4), read_softmax


def deepseek_v3(experts: str):
    config = DeepseekV3Config(
        hidden_size=DIM,
        moe_intermediate_size=HIDDEN,
        n_routed_experts=8,
        num_experts_per_tok=2,
        n_group=4,
        topk_group=2,
        n_shared_experts=1,
        routed_scaling_factor=2.5,
        norm_topk_prob=True,
    )
    config._experts_implementation = experts
    block = DeepseekV3MoE(config)
    card = RouterCard(
        "sigmoid_then_top_k_renormalized",
        8,
        2,
        selection_bias=True,
        groups={"count": 4, "kept": 2},
        scale=2.5,
        shared_experts=1,
        extra={"unordered": True},
    )
    return block, block.gate, card, read_deepseek_v3(block.gate)


def gpt_oss(experts: str):
    config = GptOssConfig(hidden_size=DIM, intermediate_size=HIDDEN, num_local_experts=8, num_experts_per_tok=2)
    config._experts_implementation = experts
    block = GptOssMLP(config)
    return block, block.router, RouterCard("top_k_then_softmax", 8, 2), read_kept_only


def llama4(experts: str):
    config = Llama4TextConfig(hidden_size=DIM, intermediate_size=HIDDEN, num_local_experts=4, num_experts_per_tok=1)
    block = Llama4TextMoe(config)
    return block, block.router, RouterCard("sigmoid_then_top_k", 4, 1, shared_experts=1), read_llama4


def phimoe(experts: str):
    config = PhimoeConfig(hidden_size=DIM, intermediate_size=HIDDEN, num_local_experts=8, num_experts_per_tok=2)
    config._experts_implementation = experts
    block = PhimoeSparseMoeBlock(config)
    return block, block.router, RouterCard("arg_max", 8, 2), read_kept_only


BLOCKS = {
    "mixtral": (mixtral, "Mixtral", "Softmax over all experts, the best two, divided by their sum."),
    "qwen3": (qwen3, "Qwen3-MoE", "Softmax over all experts, the best three, divided by their sum."),
    "olmoe": (olmoe, "OLMoE", "Softmax over all experts, the best four with their probabilities."),
    "deepseek-v3": (
        deepseek_v3,
        "DeepSeek-V3",
        "Sigmoid; chosen by score + bias within two of four groups; scores ÷ sum × 2.5.",
    ),
    "gpt-oss": (gpt_oss, "GPT-OSS", "Logits with bias; the two largest are kept; softmax over those."),
    "llama4": (
        llama4,
        "Llama 4",
        "The largest logit; its sigmoid multiplies the expert's INPUT; a shared expert beside it.",
    ),
    "phimoe": (
        phimoe,
        "Phi-MoE",
        "The largest logit, then the largest of the rest; each with a softmax over the logits near it.",
    ),
}


def build(make, experts: str, frozen: bool) -> nn.Module:
    def layer() -> nn.Module:
        block, router, card, read = make(experts)
        fill(block)
        card.frozen = frozen
        router.card, router.read_routing = card, read
        return FirstOutput(block)

    return TinyViT([layer(), layer()], DIM, heads=2, norm=RmsNorm)


def add_row(key: str, experts: str, exporter: str, frozen: bool = False, notes: str = "", **more) -> None:
    make, title, text = BLOCKS[key]
    add(
        name=f"hf-{key}-{experts.replace('_mm', '')}-{exporter}",
        title=f"{title} block of transformers, {experts}, {exporter}",
        paper="Hugging Face transformers 5.23.0",
        rule_text=text,
        exporter=exporter,
        opset=17 if exporter == "torchscript" else None,
        build=lambda: build(make, experts, frozen),
        frozen=frozen,
        notes=notes,
        **more,
    )


FROZEN = (
    "As many experts as the traced image hit are baked in: the graph fails on an image that hits "
    "more or fewer, with an "
    "error about Split. torch.export refuses this loop, so there is no row of it."
)

for KEY in BLOCKS:
    if KEY == "llama4":
        add_row(KEY, "eager", "torchscript", notes="All experts run on all tokens, on inputs multiplied by the gate.")
        add_row(KEY, "eager", "dynamo", notes="All experts run on all tokens, on inputs multiplied by the gate.")
        continue
    add_row(KEY, "batched_mm", "torchscript")
    add_row(KEY, "batched_mm", "dynamo")
    add_row(KEY, "eager", "torchscript", frozen=True, notes=FROZEN)
