"""Tools for those who work on evbus_like; not installed with it."""
