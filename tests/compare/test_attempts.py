"""A class that ends its process while it is tried is a mistake of its arm, not the command's end.

Each process needs a second or two, to import torch.
"""

import pytest
from compare_cases import TINY, run_command

CLASSES = """
import os, signal, sys
import torch

class Good(torch.optim.SGD):
    pass

class Crashing(torch.optim.SGD):
    def __init__(self, params, lr):
        os.kill(os.getpid(), signal.SIGSEGV)

class Ending(torch.optim.SGD):
    def step(self, closure=None):
        os._exit(0)

class Leaving(torch.optim.SGD):
    def __init__(self, params, lr):
        sys.exit(0)

class Odd(torch.optim.Adam):
    def __init__(self, params, lr, fused=0):
        if fused is True:
            raise ValueError("fused must be a number of layers, got True.")
        super().__init__(params, lr)

class Interrupting(torch.optim.SGD):
    def __init__(self, params, lr):
        raise KeyboardInterrupt
"""
SAID = {
    "Crashing": "its process was ended by SIGSEGV.",
    "Ending": "its process ended with exit status 0.",
    "Leaving": "SystemExit: 0 (",
    "Odd": "fused must be a number of layers, got True; "
    "without its fused step it works: set fused = false.",
    "Interrupting": "KeyboardInterrupt (",
}


def test_every_class_that_ends_its_process_is_named_with_its_arm(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ends_classes.py").write_text(CLASSES)
    (tmp_path / "ends_import.py").write_text("import os\nos._exit(0)\n")
    arms = [*(f"ends_classes.{name}" for name in ("Good", *SAID)), "ends_import.Optimizer"]
    more = "".join(
        f'[[block.arm]]\nname = "{arm}"\noptimizer = "{arm}"\ntune = {{ lr = [1e-3, 1e-1] }}\n'
        for arm in arms
    )
    (tmp_path / "study.toml").write_text(TINY + more)
    assert run_command("compare", "study.toml", "--dry-run") == 2
    lines = capfd.readouterr().err.strip().splitlines()
    for (name, reason), line in zip(SAID.items(), lines, strict=False):
        settings = "block.arm.tune gives {'lr': 0.001}"
        assert f"{settings}, which ends_classes.{name} refuses: {reason}" in line
    assert lines[-1].endswith(
        "block.arm.optimizer the class 'ends_import.Optimizer' cannot be imported: "
        "its process ended with exit status 0."
    )
    assert len(lines) == len(SAID) + 1


@pytest.mark.parametrize("name", ["AdamW", "torch.optim.Adamax", "dualadam.DualAdam"])
def test_known_classes_need_no_process(name, monkeypatch):
    from dualadam.compare import attempts

    monkeypatch.setattr(attempts, "process_executor", None)
    with attempts.Attempts() as tried:
        assert tried.death_of_import(name) is None
        assert tried.refusal(name, {"lr": 1e-3}, warmup=False, fused=True) is None
        assert "Invalid" in tried.refusal(name, {"lr": -1.0}, warmup=False, fused=True)
