# What pop reads: the folder shop/ is merged onto the hub as hub.shop.
DYNE = {"shop": ["shop"]}
