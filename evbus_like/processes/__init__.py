"""Several processes of one program: a supervisor, and workers that it starts, watches, reloads and replaces.

`run` is for programs with a main of their own; `evbus run --processes N` does the same. The rest is internal.
"""
