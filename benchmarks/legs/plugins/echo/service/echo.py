"""A service that gives back what it gets."""

SERVICE = "evbus-bench"
MAX_WORKERS = 100


async def echo(hub, body):
    """Give it back."""
    return body
