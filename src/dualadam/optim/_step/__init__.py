"""One step of the optimizers: the equations, and the loop, foreach and fused paths."""
