"""The fixtures: bus, and the hub that it runs on."""

pytest_plugins = ["evbus_like.testing.fixtures"]
