"""The events of the service auth: the file is the service, a function the event, its signature the schema."""

import datetime


async def user_created(hub, username: str, born: datetime.date, plan: str = "free"):
    """A user has signed up."""
