"""Property tests over whole commands: odd calls, damaged checkpoints, odd texts. ``watch`` runs one and finds its faults."""
