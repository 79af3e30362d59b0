"""Evaluation: bits per byte, benchmarks, and the figures of a model."""
