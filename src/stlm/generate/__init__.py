"""Writing text, one token at a time."""
