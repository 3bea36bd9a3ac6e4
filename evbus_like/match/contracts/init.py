"""The contract of a match plugin.

A match plugin decides which profiles get an event. It is one file with one function::

    def find(hub, name: str, pattern: str) -> bool:

`name` is the profile of an event, `pattern` the name of a profile in the credentials. Optional, for speed::

    def compile(hub, pattern)                  # return a function of `name`; called once, when the bus starts

`compile` is a builtin: write `def compile_`, and `__func_alias__ = {"compile_": "compile"}`. `plugin.MatchPlugin` and
`plugin.CompilingMatchPlugin` of `evbus_like.plugin` let mypy check the file.

An exception from `compile` stops the start and names the profile. One from `find`, or from a compiled function, refuses
the event: put raises BadEvent. Results and exceptions are cached by name, so the same question must have the same
answer. Both run in the event loop of the bus: a plugin that can take long must stop itself, as regex does.
"""
