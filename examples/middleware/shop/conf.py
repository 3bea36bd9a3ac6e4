# What pop reads: a service, and what every message passes.
DYNE = {"service": ["service"], "middleware": ["middleware"]}
