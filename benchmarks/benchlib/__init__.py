"""What the benchmarks share: the machine, the files of a result, the presets, and the loops that people copy."""
