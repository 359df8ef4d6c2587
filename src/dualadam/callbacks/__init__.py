"""Callbacks that watch the hand-over in a trainer: ``transformers`` and ``lightning``.

Each file needs the trainer that it is named after; this package imports neither.
"""
