DYNE = {"ingress": ["ingress"], "egress": ["egress"], "serialize": ["serialize"], "match": ["match"]}
