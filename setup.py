#!/usr/bin/env python3
"""For pop's tools, which run setup.py; the package is described in pyproject.toml."""

from setuptools import setup

setup()
