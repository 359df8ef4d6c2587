"""One step: the equations, and every path that computes them."""
