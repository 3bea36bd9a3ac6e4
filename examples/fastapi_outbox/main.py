"""A FastAPI application that writes an order and puts its event in one transaction of SQLAlchemy.

In this folder, with `pip install 'evbus-like[postgres]' fastapi uvicorn 'SQLAlchemy[asyncio]'` and a database shop:

    evbus db schema | psql shop
    DATABASE_URL=postgresql://localhost/shop ACCT_FILE=credentials.yml uvicorn main:app
    curl -X POST localhost:8000/orders -H 'content-type: application/json' -d '{"item": "tea"}'
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import pop.hub
from fastapi import Depends, FastAPI, HTTPException
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

log = logging.getLogger("uvicorn.error")
engine = create_async_engine(os.environ["DATABASE_URL"].replace("postgresql", "postgresql+psycopg", 1))
sessions = async_sessionmaker(engine)
hub = pop.hub.Hub()
hub.pop.sub.add(dyne_name="evbus")


class Base(DeclarativeBase):
    """The application's tables."""


class Order(Base):
    """An order."""

    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    item: Mapped[str]
    paid: Mapped[bool] = mapped_column(default=False)


class Wanted(BaseModel):
    item: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Run the bus from before the first request until after the last."""
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.create_all)
    contexts = await hub.evbus.acct.profiles(acct_file=os.environ["ACCT_FILE"])
    listener = asyncio.create_task(hub.evbus.init.start(contexts))
    await hub.evbus.init.join()
    try:
        yield
    finally:
        log.info("events: %s", await hub.evbus.init.stop(timeout=10))  # what is left waits in the table
        await listener
        await engine.dispose()


async def transaction() -> AsyncIterator[AsyncSession]:
    """Begin a transaction for a request, and commit it unless the request fails."""
    async with sessions.begin() as session:
        yield session


# The transaction ends before the answer is sent: who has the answer knows that order and event are stored.
Transaction = Annotated[AsyncSession, Depends(transaction, scope="function")]
app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place(wanted: Wanted, session: Transaction) -> dict[str, int]:
    """Write the order and its event: both are there after the commit, or neither."""
    order = Order(item=wanted.item)
    session.add(order)
    await session.flush()  # gives the order its id
    await hub.evbus.broker.dispatch("orders", "placed", {"id": order.id}, key=str(order.id), within=session)
    if wanted.item == "nothing":
        raise HTTPException(422, "an order of nothing")  # rolls both back
    return {"id": order.id}


@app.post("/orders/{number}/paid")
async def pay(number: int, session: Transaction) -> dict[str, bool]:
    """Change the order and put the event; the row's lock gives the events of one order their order."""
    order = await session.get(Order, number, with_for_update=True)
    if order is None:
        raise HTTPException(404, f"no order {number}")
    order.paid = True
    await session.flush()
    await hub.evbus.broker.dispatch("orders", "paid", {"id": number}, key=str(number), within=session)
    return {"paid": True}
