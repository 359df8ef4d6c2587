"""Escape from the minima of a real, small network: does the diffusion theory describe it? Design: docs/decisions/0023."""
