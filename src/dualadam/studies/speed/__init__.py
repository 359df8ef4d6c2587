"""How long a step takes, relative to torch's fused AdamW and to the limit of the memory."""

from dualadam.studies.speed.figure import draw_ratios
from dualadam.studies.speed.measure import measure_speed
from dualadam.studies.speed.record import PathTiming, Quartiles, SpeedRecord

__all__ = ["PathTiming", "Quartiles", "SpeedRecord", "draw_ratios", "measure_speed"]
