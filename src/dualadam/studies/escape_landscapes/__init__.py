"""Escape times from minima of model landscapes."""
