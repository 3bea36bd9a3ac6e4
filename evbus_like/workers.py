"""Several processes of a program with a main of its own; `evbus run --processes N` does the same for handlers.

.. code-block:: python

    async def main():
        ...  # start the bus and the handlers, and hub.evbus.init.stop_on_signals()
        workers.ready()

    if __name__ == "__main__":
        sys.exit(workers.run(main, processes=4))
"""

from evbus_like.processes.program import number, ready, run

__all__ = ["number", "ready", "run"]
