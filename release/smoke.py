"""Shows that an installed wheel works: run it with the Python of a clean environment.

    python -I release/smoke.py

It needs torch and the wheel alone, and this file in its place beside the source.
"""

from __future__ import annotations

import re
import sys
from importlib import metadata
from pathlib import Path

import torch

import dualadam
from dualadam import DualAdam, diagnose, fused_status, switch_rate_for


def parameters_after(steps: int, fused: bool) -> torch.Tensor:
    """Train a small regression, and return its parameters as one vector."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))
    rate = switch_rate_for(steps)
    optimizer = DualAdam(model.parameters(), lr=1e-2, switch_rate=rate, fused=fused)
    inputs = torch.randn(64, 8)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(inputs) - inputs.sum(1, keepdim=True)).square().mean().backward()
        optimizer.step()
    assert diagnose(optimizer).groups[0].mixing_weight == 0
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def main() -> None:
    """Check the version, the place, the kernel and a training."""
    source = Path(__file__).parents[1] / "src/dualadam/_version.py"
    (version,) = re.findall(r'^__version__ = "(.+)"$', source.read_text(), re.M)
    for found in (dualadam.__version__, metadata.version("dualadam")):
        assert found == version, f"version {found} is installed, the source has {version}"
    place = Path(dualadam.__file__)
    assert place.is_relative_to(sys.prefix), f"{place} is not the installed package"
    assert (place.parent / "py.typed").exists(), "py.typed is missing"
    status = fused_status()
    assert status.available, status.reason
    loop, fused = parameters_after(50, fused=False), parameters_after(50, fused=True)
    difference = float((loop - fused).abs().max())
    # torch's square root may differ in its last bit, and 50 steps carry that on
    assert difference < 1e-5, f"the fused step differs from the loop by {difference}"
    print(f"dualadam {version}, Python {sys.version.split()[0]}, torch {torch.__version__}: works")


if __name__ == "__main__":
    main()
