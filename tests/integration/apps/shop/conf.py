# A package for the tests of the command: an application with handlers.
CONFIG = {"greeting": {"default": "hello", "help": "What is said to an order"}}
DYNE = {"shop": ["shop"], "handler": ["handler"]}
