"""The compiled kernels of the fused step."""
