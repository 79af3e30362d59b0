"""The language model and its parts: bytes to patches, patches through the trunk, and back to bytes."""
