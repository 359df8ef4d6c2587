"""Your own loop is transformers' Trainer: the arm's optimizer goes where yours was."""

import tempfile

import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from dualadam.compare import Trial, compare
from dualadam.compare.trial import TrialScores

GENERATOR = torch.Generator().manual_seed(0)
TOKENS = torch.randint(2, 40, (600, 12), generator=GENERATOR)
ROWS = [{"input_ids": row, "labels": int(row[0] > row[1])} for row in TOKENS]
SIZES = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


class Curve(TrainerCallback):
    """Gives what the Trainer logs to the comparison."""

    def __init__(self, run: Trial):
        self.run = run

    def on_log(self, args, state, control, logs=None, **kwargs):
        if state.global_step and "loss" in (logs or {}):
            self.run.log(state.global_step, loss=logs["loss"])


def train(run: Trial) -> TrialScores:
    config = BertConfig(vocab_size=40, num_labels=2, intermediate_size=64, **SIZES)
    model = BertForSequenceClassification(config)  # the run's seed is set already
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            seed=run.seed,  # decides the order of the data
            max_steps=run.steps,
            per_device_train_batch_size=16,
            logging_steps=5,
            logging_first_step=True,
            logging_nan_inf_filter=False,  # or a run that diverged would log its last finite loss
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            use_cpu=run.device == "cpu",
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=ROWS[:400],
            compute_metrics=lambda p: {
                "accuracy": 100 * float((p.predictions.argmax(-1) == p.label_ids).mean())
            },
            callbacks=[Curve(run)],
            # was: optimizers=(torch.optim.AdamW(model.parameters(), lr=1e-3), None)
            optimizers=(run.optimizer(model), None),  # the Trainer makes its own schedule
        )
        trainer.train()

        def accuracy(rows: list[dict]) -> float:
            return trainer.evaluate(rows)["eval_accuracy"]

        return run.scores(validation=accuracy(ROWS[400:500]), test=lambda: accuracy(ROWS[500:]))


if __name__ == "__main__":
    metric = {"direction": "higher", "metric": "accuracy", "unit": "%", "worst": 0.0}
    result = compare(train, lr=1e-3, steps=200, seeds=10, out="runs/trainer", **metric)
    print(result.table())
