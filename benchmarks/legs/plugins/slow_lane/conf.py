"""What pop reads: an ingress plugin of somebody else's. The benchmark's memory leg puts this folder on its path."""

DYNE = {"ingress": ["ingress"]}
