"""A Flask application whose views put events: sync code, with the bus in a thread of its own.

In this folder, with `pip install evbus-like flask` and a credentials.yml such as that of the README:

    ACCT_FILE=credentials.yml flask --app main run
    curl -X POST localhost:5000/orders -H 'content-type: application/json' -d '{"item": "tea"}'

A server that forks, such as gunicorn, calls `create_app` in each worker (without --preload): each has a bus of its own.
A view of Django does the same; there, `start` belongs into the `ready` of an AppConfig.
"""

import atexit
import os

import pop.hub
from flask import Flask, current_app, request

from evbus_like.errors import PutError


def create_app() -> Flask:
    """Make the application, and run the bus until the process ends."""
    app = Flask(__name__)
    app.extensions["evbus"] = start()
    app.post("/orders")(place)
    return app


def start():
    """Start the bus in a thread of its own."""
    hub = pop.hub.Hub()
    hub.pop.sub.add(dyne_name="evbus")
    background = hub.evbus.init.background(hub.evbus.acct.profiles(acct_file=os.environ["ACCT_FILE"]), timeout=10)
    bus = background.__enter__()  # raises what is wrong with the profiles
    atexit.register(stop, background)
    return bus


def stop(background) -> None:
    """Deliver what is queued, and say what became of every event."""
    background.__exit__(None, None, None)
    print("events:", background.account, flush=True)


def place():
    """Take an order; the call returns when the event is accepted, or with outbox: always when it is on the disk."""
    order = request.get_json()
    try:
        receipt = current_app.extensions["evbus"].dispatch("orders", "placed", {"item": order["item"]}, timeout=5)
    except PutError as error:  # full, stopped, or an order that cannot be serialized: the message says which
        return {"error": str(error)}, 503
    return {"id": receipt.id}, 202
