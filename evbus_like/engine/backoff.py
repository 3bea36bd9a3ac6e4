"""Backoff: how long to wait before the next attempt."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter, in seconds.

    Each wait is random, between 0 and min(cap, base * 2**n), so that many clients of one broker do not reconnect at
    the same moment ("full jitter" of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self.base = base
        self.cap = cap
        self.attempts = 0

    def next(self) -> float:
        """Return the next wait, and count the attempt."""
        ceiling = min(self.cap, self.base * 2 ** min(self.attempts, 30))
        self.attempts += 1
        return random.uniform(0, ceiling)

    def reset(self) -> None:
        """Start again with short waits, after a success."""
        self.attempts = 0
