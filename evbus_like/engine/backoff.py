"""Backoff: how long to wait before the next try."""

from __future__ import annotations

import random


class Backoff:
    """Exponential backoff with full jitter, in seconds.

    Each wait is drawn between 0 and min(cap, base * 2**n), so that many clients of one broker do not come back at
    the same moment (the "full jitter" of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    def __init__(self, base: float = 0.1, cap: float = 5.0) -> None:
        self.base = base
        self.cap = cap
        self.tries = 0

    def next(self) -> float:
        """Give the next wait, and count the try."""
        # 2**63 would overflow nothing, but there is no need to go there.
        ceiling = min(self.cap, self.base * 2 ** min(self.tries, 30))
        self.tries += 1
        return random.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin anew, after a success."""
        self.tries = 0
