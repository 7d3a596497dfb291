"""Propagation methods: the model run with other backward rules for some of its functions."""
