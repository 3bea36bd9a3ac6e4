"""Calls: requests to services, and their answers, over the same sources."""
