"""Bytes to patches to trunk to bytes."""
