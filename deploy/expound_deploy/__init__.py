"""Starts everything on one machine."""
