"""What is timed: the implementations of a step, the lists of tensors, and loops over the memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import nn
from torch.optim import AdamW, Optimizer

from dualadam.optim import DualAdam, fused_status, memory_traffic
from dualadam.tasks.images.models import resnet18, vit

# numbers that a step moves per parameter: it reads p and g and writes p; it reads and writes m, v
PARAMETER_NUMBERS, STATE_NUMBERS = 3, 4
STEP_BYTES = 4 * (PARAMETER_NUMBERS + STATE_NUMBERS)  # in float32
TRIAD_BYTES = 16
SWITCH_RATE = 1e-6  # DualAdam stays in its mixing phase, the slower one
LR = 1e-6
# what a label says of the dtypes of parameters and state
STORED = {
    (torch.float32, torch.float32): "",
    (torch.float32, torch.bfloat16): ", bfloat16 state",
    (torch.float32, torch.uint8): ", 8-bit state",
    (torch.bfloat16, torch.bfloat16): ", all bfloat16",
    (torch.bfloat16, torch.uint8): ", bfloat16, 8-bit state",
}


@dataclass(frozen=True)
class StepPath:
    """One implementation of an optimizer's step.

    Attributes:
        optimizer: DualAdam, or torch's AdamW.
        implementation: loop, foreach or fused.
        state_dtype: of the moments; uint8 is 8 bits in blocks. DualAdam rounds what is not float32
            stochastically, and AdamW to nearest, the only way that it has.
        param_dtype: of parameters and gradients, float32 or bfloat16.
        compiled: whether the step runs inside torch.compile.
    """

    optimizer: Literal["DualAdam", "AdamW"]
    implementation: Literal["loop", "foreach", "fused"]
    state_dtype: torch.dtype = torch.float32
    param_dtype: torch.dtype = torch.float32
    compiled: bool = False

    FLAGS: ClassVar[dict[str, dict[str, bool]]] = {
        "loop": {"foreach": False},
        "foreach": {"foreach": True},
        "fused": {"fused": True},
    }

    @property
    def label(self) -> str:
        """The name in tables, figures and records."""
        stored = STORED[self.param_dtype, self.state_dtype]
        return f"{self.optimizer} {self.implementation}{stored}{', compiled' * self.compiled}"

    @property
    def is_fused(self) -> bool:
        """Whether it is a fused implementation, several times as fast as the others."""
        return self.implementation == "fused"

    @property
    def bytes_per_parameter(self) -> int:
        """What a step reads and writes; the exponents of blocks in 8 bits are left out."""
        of_state = STATE_NUMBERS * self.state_dtype.itemsize
        return PARAMETER_NUMBERS * self.param_dtype.itemsize + of_state

    def is_available(self, device: str) -> bool:
        """Return whether it exists here; torch's own implementations always do."""
        needs_kernel = self.optimizer == "DualAdam" and self.is_fused
        return not needs_kernel or fused_status(device=device).available

    def optimizer_of(self, params: Sequence[nn.Parameter]) -> Optimizer:
        """Return the optimizer of float32 parameters, or of their copies in ``param_dtype``."""
        if self.param_dtype != torch.float32:
            params = [_in_dtype(p, self.param_dtype) for p in params]
        settings: dict[str, Any] = {"lr": LR, **self.FLAGS[self.implementation]}
        if self.optimizer == "AdamW":
            return AdamW(params, **settings)
        if self.state_dtype != torch.float32:
            settings |= {"state_dtype": self.state_dtype, "stochastic_rounding": True}
        return DualAdam(params, switch_rate=SWITCH_RATE, **settings)

    def step_of(self, params: Sequence[nn.Parameter]) -> Callable[[], Any]:
        """Return the step of an optimizer of its own, compiled if it is to be."""
        step = self.optimizer_of(params).step
        return torch.compile(step) if self.compiled else step


def _in_dtype(param: nn.Parameter, dtype: torch.dtype) -> nn.Parameter:
    copied = nn.Parameter(param.detach().to(dtype))
    copied.grad = None if param.grad is None else param.grad.to(dtype)
    return copied


FUSED = StepPath("DualAdam", "fused")
HALF_STATE = StepPath("DualAdam", "fused", torch.bfloat16)
EIGHT_BIT_STATE = StepPath("DualAdam", "fused", torch.uint8)
ALL_HALF = StepPath("DualAdam", "fused", torch.bfloat16, param_dtype=torch.bfloat16)
HALF_EIGHT_BIT = StepPath("DualAdam", "fused", torch.uint8, param_dtype=torch.bfloat16)
ALL_HALF_ADAMW = StepPath("AdamW", "fused", torch.bfloat16, param_dtype=torch.bfloat16)
COMPILED = StepPath("DualAdam", "fused", compiled=True)
REFERENCE = StepPath("AdamW", "fused")
PATHS = (
    StepPath("DualAdam", "loop"),
    StepPath("DualAdam", "foreach"),
    FUSED,
    StepPath("AdamW", "loop"),
    StepPath("AdamW", "foreach"),
    REFERENCE,
    HALF_STATE,
    EIGHT_BIT_STATE,
    ALL_HALF,
    HALF_EIGHT_BIT,
    ALL_HALF_ADAMW,
)
PATH_BY_LABEL = {path.label: path for path in (*PATHS, COMPILED)}


@dataclass(frozen=True)
class TensorList:
    """The shapes of the parameters of one optimizer."""

    name: str
    shapes: tuple[tuple[int, ...], ...]

    @property
    def num_parameters(self) -> int:
        """Elements of all tensors."""
        return sum(math.prod(shape) for shape in self.shapes)

    def make(self, device: str) -> list[nn.Parameter]:
        """Return parameters with gradients, the same for every optimizer of the list."""
        generator = torch.Generator().manual_seed(0)
        params = [
            nn.Parameter((torch.randn(shape, generator=generator) * 0.02).to(device))
            for shape in self.shapes
        ]
        for p in params:
            p.grad = (torch.randn(p.shape, generator=generator) * 1e-3).to(device)
        return params


def tensor_lists(large: int) -> list[TensorList]:
    """Return the lists that are timed; the large tensor exceeds every cache."""
    with torch.device("meta"):
        models = {"ResNet-18": resnet18(10, 3, 32), "ViT-S": vit(10, 3, 32)}
    shapes = {name: tuple(tuple(p.shape) for p in m.parameters()) for name, m in models.items()}
    return [
        TensorList("one large tensor", ((large,),)),
        *(TensorList(name, of_model) for name, of_model in shapes.items()),
        TensorList("1,000 tensors of 256", ((256,),) * 1000),
        TensorList("100 tensors of 1,000", ((1000,),) * 100),
    ]


@dataclass(frozen=True)
class MemoryLoop:
    """A plain loop whose speed the memory limits.

    Attributes:
        name: in the record.
        num_bytes: that one run moves.
        run: runs it once.
    """

    name: str
    num_bytes: int
    run: Callable[[], Any]


def memory_loops(num: int, device: str) -> list[MemoryLoop]:
    """Return a triad, and on the CPU the memory traffic of a step without its arithmetic.

    The triad a = b + 3 c counts 16 bytes an element, since a is read before it is written.
    """
    a, b, c, d = (torch.ones(num, device=device) for _ in range(4))
    triad = MemoryLoop("triad", TRIAD_BYTES * num, lambda: torch.add(b, c, alpha=3, out=a))
    if device != "cpu" or not fused_status().available:
        return [triad]
    return [triad, MemoryLoop("stream", STEP_BYTES * num, lambda: memory_traffic(d, a, b, c))]
