"""hub.middleware: what every message passes. Plugins have incoming(hub, message), outgoing(hub, message), or both."""
