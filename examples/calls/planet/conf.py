# What pop reads: the folder service/ is merged into the hub's services.
DYNE = {"service": ["service"]}
