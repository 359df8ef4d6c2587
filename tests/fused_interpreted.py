"""The Triton step in Triton's interpreter, on CPU tensors, against the loop; run by test_fused_cuda.py with TRITON_INTERPRET=1."""

from __future__ import annotations

import torch

from dualadam import DualAdam, InvAdam
from dualadam.optim import _fused, _kernel_triton, _layout

SIZES = ((), (0, 3), (1,), (5, 7), (1025,), (2_100,))
BFLOAT16 = {"state_dtype": torch.bfloat16, "stochastic_rounding": True}
CASES = [
    ("over the hand-over", torch.float32, {"switch_rate": 0.25, "weight_decay": 0.1}, DualAdam),
    ("InvAdam, maximize", torch.float32, {"maximize": True}, InvAdam),
    ("other betas, tensor lr", torch.float32, {"betas": (0.3, 0.6), "lr": torch.tensor(1e-3), "eps": 1e-3}, DualAdam),
    ("float16", torch.float16, {"switch_rate": 0.25}, DualAdam),
    ("bfloat16", torch.bfloat16, {"switch_rate": 0.25}, DualAdam),
    ("bfloat16 state", torch.float32, {"switch_rate": 0.25, **BFLOAT16}, DualAdam),
    ("bfloat16 throughout", torch.bfloat16, {"switch_rate": 0.25, **BFLOAT16}, DualAdam),
]


def normal(shape: tuple[int, ...], seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_params(dtype: torch.dtype) -> list[torch.nn.Parameter]:
    values = [normal(shape, i).to(dtype) for i, shape in enumerate(SIZES)]
    values.append(normal((66,), 99).to(dtype)[1:])  # does not start at 16 bytes
    return [torch.nn.Parameter(v) for v in values]


def run(dtype: torch.dtype, settings: dict, kind: type, fused: bool) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return parameters and (moments, steps) after 7 steps: gradients scaled by 1024, step 3 skipped, one parameter joins at step 2."""
    params = make_params(dtype)
    optimizer = kind(params, fused=fused or None, foreach=None if fused else False, **settings)
    for step in range(7):
        skipped = step == 3
        for i, p in enumerate(params):
            grad = normal(p.shape, 100 * step + i).to(dtype)
            p.grad = None if i == 3 and step < 2 else (grad * 1024 if fused else grad)
        if fused:
            optimizer.grad_scale, optimizer.found_inf = torch.tensor(1024.0), torch.tensor(float(skipped))
        if fused or not skipped:
            optimizer.step()
    states = [optimizer.state[p][key] for p in params for key in ("exp_avg", "exp_avg_sq", "step")]
    return [p.detach() for p in params], states


def main() -> None:
    """Compare every case, and print how many there were."""
    _fused.KERNELS["cpu"] = _kernel_triton
    _kernel_triton.refuses = lambda *row: _layout.refuses(row, "cpu", _kernel_triton.STATE_DTYPES, _kernel_triton.STEP_DTYPES)
    _kernel_triton.takes_all = lambda *columns: False
    _kernel_triton.CHUNK = 2_048  # two chunks of the largest tensor
    launches = []
    step_tensors = _kernel_triton.step_tensors
    _kernel_triton.step_tensors = lambda *args, **more: launches.append(len(args[0])) or step_tensors(*args, **more)
    for name, dtype, settings, kind in CASES:
        launches.clear()
        expected, actual = run(dtype, settings, kind, fused=False), run(dtype, settings, kind, fused=True)
        assert launches == [6, 6, 7, 7, 7, 7, 7], (name, launches)  # every tensor with a gradient, at every step
        for e, a in zip([*expected[0], *expected[1]], [*actual[0], *actual[1]], strict=True):
            assert e.dtype == a.dtype
            # a few roundings a step; half precision may round a last bit the other way, and stochastically by a whole unit, each step
            unit = max(torch.finfo(e.dtype).eps, torch.finfo(torch.float32).eps)
            units = 20 if e.dtype == torch.float32 and torch.bfloat16 not in (dtype, settings.get("state_dtype")) else 8
            tolerance = {"rtol": units * unit, "atol": units * unit}
            if settings.get("state_dtype"):
                tolerance = {"rtol": 8 * 2**-7, "atol": 8 * 2**-7}
            torch.testing.assert_close(a, e, **tolerance, msg=lambda text, name=name: f"{name}: {text}")
    check_noise()
    print(f"{len(CASES)} cases, and the noise")


def check_noise() -> None:
    """Zero gradients: moments and parameter are multiplied and nothing else, so both paths round the very same numbers."""
    outcomes = []
    for fused in (False, True):
        params = [torch.nn.Parameter(normal((n,), n).bfloat16()) for n in (1, 1_000)]
        optimizer = DualAdam(params, lr=1.0, eps=1e30, weight_decay=0.25, switch_rate=1.0, betas=(0.75, 0.875), foreach=False if not fused
                             else None, fused=fused, **BFLOAT16)  # fmt: skip
        for step in range(3):
            for p in params:
                p.grad = torch.zeros_like(p)
            optimizer.step()
            for i, p in enumerate(params if step == 0 else []):
                optimizer.state[p]["exp_avg"].copy_(normal(p.shape, 5 + i))
                optimizer.state[p]["exp_avg_sq"].copy_(normal(p.shape, 7 + i).square())
        outcomes.append([p.detach() for p in params] + [optimizer.state[p][k] for p in params for k in ("exp_avg", "exp_avg_sq")])
    assert all(torch.equal(e, a) for e, a in zip(*outcomes, strict=True))


if __name__ == "__main__":
    main()
