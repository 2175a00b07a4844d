"""Mixtures as single nodes of ONNX Runtime: com.microsoft.MoE and QMoE.

The node takes router LOGITS. What its CPU kernel makes of them: softmax over all experts, top-k, and with
normalize_routing_weights division by the sum of the kept. Experts' weights lie [E, out, in]; QMoE has them as 4-bit or
8-bit integers with a scale per row. Its GELU is the tanh approximation. In PyTorch the node is written out.

Without normalize_routing_weights, the CPU kernel of ONNX Runtime 1.31.1 computes something else when nothing needs the
node's input afterwards. So the layers here add their input once more.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from routing import RouterCard, Routing, gate_linear
from row import add
from vit import Mlp, TinyViT

DIM, HIDDEN, EXPERTS, TOP_K = 32, 40, 6, 2


class NodeRouter(nn.Module):
    """The routing inside the node, from logits that the graph computes outside of it."""

    def __init__(self, normalised: bool):
        super().__init__()
        self.normalised = normalised
        self.card = RouterCard(
            "contrib_moe",
            EXPERTS,
            TOP_K,
            extra={"inner_rule": "softmax_then_top_k_renormalized" if normalised else "softmax_then_top_k"},
        )

    def forward(self, logits: Tensor) -> Routing:
        probs = logits.softmax(-1)
        weights, ids = probs.topk(TOP_K, dim=-1)
        if self.normalised:
            weights = weights / weights.sum(-1, keepdim=True)
        return Routing(logits, probs, ids, weights)


class MoeNode(nn.Module):
    """com.microsoft.MoE with GELU experts."""

    normalised, activation = False, "gelu"

    def __init__(self):
        super().__init__()
        self.gate, self.router = gate_linear(DIM, EXPERTS), NodeRouter(self.normalised)
        wide = HIDDEN * (2 if self.activation == "swiglu" else 1)
        self.fc1, self.fc1_bias = rows(EXPERTS, wide, DIM), nn.Parameter(torch.randn(EXPERTS, wide) * 0.1)
        self.fc2, self.fc2_bias = rows(EXPERTS, DIM, HIDDEN), nn.Parameter(torch.randn(EXPERTS, DIM) * 0.1)

    def attributes(self) -> dict:
        return {"k": TOP_K, "activation_type": self.activation, "normalize_routing_weights": int(self.normalised)}

    def activate(self, x: Tensor) -> Tensor:
        return F.gelu(x, approximate="tanh")

    def weights(self) -> tuple[Tensor, Tensor]:
        return self.fc1, self.fc2

    def node(self, flat: Tensor, logits: Tensor) -> Tensor:
        inputs = (flat, logits, self.fc1, self.fc1_bias, self.fc2, self.fc2_bias)
        return torch.onnx.ops.symbolic(
            "com.microsoft::MoE", inputs, self.attributes(), dtype=flat.dtype, shape=flat.shape, version=1
        )

    def forward(self, x: Tensor) -> Tensor:
        flat = x.reshape(-1, DIM)
        logits = self.gate(flat)
        if torch.onnx.is_in_onnx_export():
            return (flat + self.node(flat, logits)).view(x.shape)
        routing = self.router(logits)
        fc1, fc2 = (weight[routing.expert_ids] for weight in self.weights())
        inner = torch.einsum("td,tkhd->tkh", flat, fc1) + self.fc1_bias[routing.expert_ids]
        each = torch.einsum("tkh,tkdh->tkd", self.activate(inner), fc2) + self.fc2_bias[routing.expert_ids]
        return (flat + (each * routing.combine_weights[..., None]).sum(1)).view(x.shape)


class SwigluNode(MoeNode):
    """SwiGLU with the two products interleaved in one, as GPT-OSS has it, and normalised weights."""

    normalised, activation = True, "swiglu"

    def attributes(self) -> dict:
        return super().attributes() | {
            "swiglu_fusion": 1,
            "activation_alpha": 1.702,
            "activation_beta": 1.0,
            "swiglu_limit": 7.0,
        }

    def activate(self, x: Tensor) -> Tensor:
        gate, linear = x[..., ::2].clamp(max=7.0), x[..., 1::2].clamp(-7.0, 7.0)
        return gate * torch.sigmoid(1.702 * gate) * (linear + 1)


class QuantizedNode(MoeNode):
    """com.microsoft.QMoE: integer weights, one scale per row, zero point in the middle of the range."""

    normalised, activation, bits = True, "relu", 8

    def __init__(self):
        super().__init__()
        for name in ("fc1", "fc2"):
            weight = getattr(self, name).detach()
            del self._parameters[name]
            half = 2 ** (self.bits - 1)
            scale = weight.abs().amax(-1) / (half - 1)
            whole = (weight / scale[..., None]).round().clamp(-half, half - 1) + half
            self.register_buffer(name, pack(whole.to(torch.uint8), self.bits))
            self.register_buffer(f"{name}_scale", scale)

    def activate(self, x: Tensor) -> Tensor:
        return F.relu(x)

    def weights(self) -> tuple[Tensor, Tensor]:
        return tuple(
            (unpack(packed, self.bits).float() - 2 ** (self.bits - 1)) * scale[..., None]
            for packed, scale in ((self.fc1, self.fc1_scale), (self.fc2, self.fc2_scale))
        )

    def node(self, flat: Tensor, logits: Tensor) -> Tensor:
        inputs = (flat, logits, self.fc1, self.fc1_scale, self.fc1_bias, self.fc2, self.fc2_scale, self.fc2_bias)
        return torch.onnx.ops.symbolic(
            "com.microsoft::QMoE",
            inputs,
            self.attributes() | {"expert_weight_bits": self.bits},
            dtype=flat.dtype,
            shape=flat.shape,
            version=1,
        )


class QuantizedNode4(QuantizedNode):
    bits = 4


def rows(num_experts: int, out: int, into: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(num_experts, out, into) / into**0.5)


def pack(whole: Tensor, bits: int) -> Tensor:
    """4-bit values lie two in a byte, the earlier one in the lower half."""
    return whole if bits == 8 else whole[..., ::2] | whole[..., 1::2] << 4


def unpack(packed: Tensor, bits: int) -> Tensor:
    return packed if bits == 8 else torch.stack([packed & 15, packed >> 4], -1).flatten(-2)


PAPER = "ONNX Runtime contrib operators, com.microsoft"
LIMIT = "Choice and weights happen inside the node and are no tensors of the graph: they have to be computed again."
for NAME, LAYER, TITLE in (
    ("contrib-moe", MoeNode, "com.microsoft.MoE, GELU"),
    ("contrib-moe-swiglu", SwigluNode, "com.microsoft.MoE, interleaved SwiGLU"),
    ("contrib-qmoe", QuantizedNode, "com.microsoft.QMoE, 8 bits"),
    ("contrib-qmoe-4bit", QuantizedNode4, "com.microsoft.QMoE, 4 bits"),
):
    add(
        name=NAME,
        title=TITLE,
        paper=PAPER,
        exporter="dynamo",
        seed=1,
        known_limits=LIMIT,
        rule_text="Softmax over all experts, the best two" + (", divided by their sum." if LAYER.normalised else "."),
        build=lambda layer=LAYER: TinyViT([Mlp(DIM, HIDDEN), layer(), layer()], DIM),
    )
