"""Speed and learning, compared with other programs. ``python -m benchmarks`` lists the benchmarks."""
