"""The compiled kernels of the fused step, one module per device type."""
