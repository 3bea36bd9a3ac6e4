"""`python -m evbus_like`: the `evbus` command."""

from evbus_like.scripts import start

if __name__ == "__main__":
    start()
