"""Stands in for the worker in tests of `expound up`."""
