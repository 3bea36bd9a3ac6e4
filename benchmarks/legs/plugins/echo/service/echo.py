"""A service that gives back what it gets."""

SERVICE = "evbus-bench"


async def echo(hub, body):
    """Give it back."""
    return body
