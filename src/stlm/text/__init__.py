"""Text to tokens and back, and the built-in corpus."""
