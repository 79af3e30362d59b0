"""Writing text, one symbol at a time."""
