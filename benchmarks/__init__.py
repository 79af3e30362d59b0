"""Speed and learning beside peers: ``python -m benchmarks`` says what there is."""
