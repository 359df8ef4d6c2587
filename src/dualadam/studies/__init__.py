"""Studies of the optimizers that are not comparisons."""
