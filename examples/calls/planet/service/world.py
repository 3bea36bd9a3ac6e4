"""The service world: its public functions are its methods."""

import evbus_like.handlers as evbus


async def hello(hub, name, times=1):
    """Greet somebody."""
    return {"said": ["hello, " + name] * times}


def shout(hub, text):
    """Give a text in capitals. An ordinary function runs in a thread."""
    return text.upper()


@evbus.method(timeout=5, expected_exceptions=ZeroDivisionError)
async def divide(hub, number, by):
    """Divide; by nothing is an error, which the caller hears of; the log has it in a line."""
    return number / by


async def note(hub, text):
    """Note something; nobody waits for it."""
    print("noted:", text)
