"""Text to symbols and back, and the built-in corpus."""
