# What pop reads: the folder event/ is merged onto the hub as hub.event.
DYNE = {"event": ["event"]}
