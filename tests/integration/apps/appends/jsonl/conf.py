# What pop reads: the folder ingress/ is merged into hub.ingress, beside amqp and kafka.
DYNE = {"ingress": ["ingress"]}
