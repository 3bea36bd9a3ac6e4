#!/usr/bin/env python3
"""For pop's tools, which run setup.py, and the part in C; the rest of the package is described in pyproject.toml."""

from setuptools import Extension, setup

FOLDER = "evbus_like/speedups"

setup(
    ext_modules=[
        Extension(
            "evbus_like.speedups._built",
            [f"{FOLDER}/{name}.c" for name in ("built", "event", "received_record", "record_batch", "values")],
            depends=[f"{FOLDER}/built.h"],
            extra_compile_args=["-O3", "-fvisibility=hidden"],
            py_limited_api=True,  # one build for Python 3.11 and all later ones
            optional=True,  # without a compiler the package is installed all the same
        )
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
