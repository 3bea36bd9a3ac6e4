"""A supervisor, and worker processes that it starts, watches, reloads and replaces; it knows no hub and no broker."""
