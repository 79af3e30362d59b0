"""Text generation, one token at a time."""
