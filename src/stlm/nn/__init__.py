"""Layers for any sequence. Nothing in them is specific to text."""
