"""Layers that have never heard of language."""
