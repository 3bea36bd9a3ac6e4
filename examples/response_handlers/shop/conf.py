# What pop reads: services, and the handlers of their answers.
DYNE = {"service": ["service"], "handler": ["handler"]}
