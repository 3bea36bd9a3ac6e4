"""What pop reads: the folder that is merged into hub.ingress."""

DYNE = {"ingress": ["ingress"]}
