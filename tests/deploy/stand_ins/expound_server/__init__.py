"""Stands in for the server in tests of `expound up`."""
