"""The fair comparison of optimizers: what is compared, the models and tasks, the training loop, statistics and the report."""
