# What pop reads: the folder handler/ is merged into the hub's handlers.
DYNE = {"handler": ["handler"]}
