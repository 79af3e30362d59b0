"""Layers for any sequence. They know nothing of text."""
