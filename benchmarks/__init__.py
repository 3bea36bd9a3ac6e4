"""The benchmark: every leg beside its peers and its limit, in one run. `python -m benchmarks --help`."""
