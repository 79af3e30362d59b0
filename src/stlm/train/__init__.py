"""The one training loop. It depends only on the contracts of the parts, not on their kinds."""
