"""What the benchmarks share: results, processes, loads, peers."""
