"""Sources to shards to a deterministic, resumable stream of batches."""
