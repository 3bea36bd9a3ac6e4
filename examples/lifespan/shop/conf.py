# What pop reads: handlers, and what runs before the first event and after the last.
DYNE = {"handler": ["handler"], "lifespan": ["lifespan"]}
