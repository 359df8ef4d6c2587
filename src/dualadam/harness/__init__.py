"""What every long study needs, once."""
