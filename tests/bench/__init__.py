"""Benchmarks: Expound beside its peers and beside the floor of what it does, in one run."""
