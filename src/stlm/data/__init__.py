"""Sources become shards, and shards become a deterministic, resumable stream of batches."""
