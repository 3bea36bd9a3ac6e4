"""The engine: plain Python that moves events from `put` to destinations and knows no hub and no broker."""
