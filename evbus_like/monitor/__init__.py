"""What can be seen of a bus from outside: status, metrics, an HTTP port; it knows the engine's account, no broker."""
