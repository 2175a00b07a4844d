"""A row of the zoo: one architecture, how it is built, fed and exported, and the register of all rows."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

import images


@dataclass
class Row:
    """`build` makes the model from a fixed seed; everything else says how it is exported and described."""

    name: str
    title: str
    paper: str
    rule_text: str
    build: Callable[[], nn.Module]
    seed: int = 0  # another one where two scores lie so near that runtimes could choose differently
    exporter: str = "torchscript"  # or "dynamo"
    opset: int | None = None
    outputs: list[str] = field(default_factory=lambda: ["logits"])
    image: int = 32
    batch: int = 1  # images in one input
    layout: str = "NCHW"
    normalisation: tuple = images.HALF
    grid: dict = field(default_factory=lambda: {"rows": 4, "cols": 4, "prefix_tokens": 0})
    dynamic_batch: bool = False
    more_inputs: Callable[[int], dict[str, Tensor]] = lambda index: {}
    rewrite: Callable[["object"], "object"] | None = None  # ModelProto → ModelProto, after an exporter
    tolerance: float = 1e-4
    frozen: bool = False  # known: the export is wrong for other inputs than the traced one
    random: bool = False  # the graph draws random numbers: golden values are one draw
    approximate: bool = False  # other number formats: values agree roughly, and close choices may differ
    fixed: list | None = None  # layers of experts without a gate: {"kind", "experts"} of each, in order
    generated: bool = False  # too large to be kept: made only when it is named, into generated/
    notes: str = ""
    known_limits: str = ""

    def model(self) -> nn.Module:
        torch.manual_seed(zlib.crc32(self.name.encode()) + self.seed)
        return self.build().eval()

    def inputs(self, index: int) -> dict[str, Tensor]:
        """Graph inputs number 0, 1 or 2, the image first."""
        image = images.batch(index, self.batch, self.image, self.normalisation, self.layout)
        return {"pixel_values": image, **self.more_inputs(index)}


ROWS: dict[str, Row] = {}


def add(**fields) -> Row:
    """Registers a row; families call this when they are imported."""
    row = Row(**fields)
    assert row.name not in ROWS, row.name
    ROWS[row.name] = row
    return row
