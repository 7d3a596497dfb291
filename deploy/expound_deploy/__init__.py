"""Starts everything on one machine: Redis, a worker and a server, under one supervisor."""
