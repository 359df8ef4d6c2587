"""Language models: classification and generation."""
