"""The cases of sharded_program.py by number of processes, and the settings that each runs with."""

from __future__ import annotations

from typing import Any

SETTINGS: dict[str, Any] = {"lr": 1e-2, "switch_rate": 0.1, "weight_decay": 0.1}
ROUNDED = {"state_dtype": "bfloat16", "stochastic_rounding": True, "rounding_seed": 0}
PATHS: dict[str, dict[str, Any]] = {
    "loop": {"foreach": False},
    "foreach": {"foreach": True},
    "fused": {"fused": True},
    "bfloat16 state": {"fused": True, **ROUNDED},
}
SHARDED = (  # need FSDP2 on the CPU, whose streams torch 2.6 lacks
    "a_loaded_checkpoint_continues_as_the_straight_run",
    "a_state_of_another_world_size_is_refused",
    "one_process_continues_what_two_have_saved",
)
CASES = {  # names of functions, in the order in which they run: the last loads what was saved
    2: (
        "ddp_is_one_process_with_the_whole_batch",
        "zero_is_the_undivided_optimizer",
        "a_step_in_backward_is_the_step_after_it",
        "a_loaded_checkpoint_continues_as_the_straight_run",
        "a_state_of_another_world_size_is_refused",
    ),
    1: ("one_process_continues_what_two_have_saved",),
}
