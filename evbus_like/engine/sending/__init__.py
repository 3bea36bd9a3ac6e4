"""Sending: from an accepted event to its destinations, with retries and dead letters."""
