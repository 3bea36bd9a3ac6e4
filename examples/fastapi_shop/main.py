"""A FastAPI application that puts an event for each order; the bus runs in its lifespan.

In this folder, with `pip install evbus-like fastapi uvicorn` and a credentials.yml such as that of the README:

    ACCT_FILE=credentials.yml uvicorn main:app
    curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"item": "tea"}'
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pop.hub
from fastapi import FastAPI, HTTPException, Request
from pydantic import BaseModel

from evbus_like.errors import PutError

log = logging.getLogger("uvicorn.error")


class Order(BaseModel):
    item: str
    count: int = 1


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the bus from before the first request until after the last."""
    hub = app.state.hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    contexts = await hub.evbus.acct.profiles(acct_file=os.environ["ACCT_FILE"])
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()  # raises what is wrong with the profiles, and uvicorn ends
    try:
        yield
    finally:
        log.info("events: %s", await hub.evbus.init.stop(timeout=10))  # delivers what is queued
        await listener


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=202)
async def place(order: Order, request: Request) -> dict[str, str]:
    """Take an order; the answer comes when the event is accepted, or with outbox: always when it is on the disk."""
    try:
        receipt = await request.app.state.hub.evbus.broker.dispatch("orders", "placed", order.model_dump(), timeout=5)
    except PutError as error:  # full, stopped, or an order that cannot be serialized: the message says which
        raise HTTPException(503, str(error)) from error
    return {"id": receipt.id}


@app.get("/ready")
async def ready(request: Request) -> dict[str, str]:
    """Say how every destination is, for a probe."""
    status = request.app.state.hub.evbus.init.status()
    return {name: lane["state"] for name, lane in status["destinations"].items()}
