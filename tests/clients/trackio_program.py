"""A Trainer that reports to trackio, whose folder is chosen when it is imported; prints a curve."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

from test_callback_transformers import history, trainer_of

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    trainer = trainer_of(Path(sys.argv[1]), report_to=["trackio"], project="watched")
    trainer.train()
    print(json.dumps(history(trainer, sys.argv[2])))
