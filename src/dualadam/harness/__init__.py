"""What every long study needs, once: store, executors, progress, environment, figures, verdict."""
