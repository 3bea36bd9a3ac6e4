# What pop reads: the folder serialize/ is merged into hub.serialize, beside json and msgpack.
DYNE = {"serialize": ["serialize"]}
