#!/usr/bin/env python3
"""Packaging. pop finds plugins by folder, so every plugin folder is listed as a package of its own."""

from pathlib import Path

from setuptools import find_namespace_packages, setup

HERE = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """Read one file of requirements/, comments and includes left out."""
    lines = (HERE / "requirements" / f"{name}.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-r"))]


def version() -> str:
    """Read the version without importing the package, whose libraries may not be installed yet."""
    scope: dict[str, str] = {}
    exec((HERE / "evbus_like" / "version.py").read_text(), scope)
    return scope["version"]


setup(
    name="evbus-like",
    version=version(),
    description="An event bus for pop applications: RabbitMQ, Kafka, in-memory, anyone's plugin",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    license_files=["LICENSE"],
    python_requires=">=3.11",
    packages=find_namespace_packages(include=["evbus_like", "evbus_like.*"]),
    package_data={"evbus_like": ["py.typed", "data/*"]},
    install_requires=requirements("base"),
    extras_require={"uvloop": ["uvloop>=0.19"], "testing": ["pytest>=8.3", "pytest-asyncio>=1.0"]},
    entry_points={"console_scripts": ["evbus = evbus_like.scripts:start"]},
    classifiers=[
        "Development Status :: 4 - Beta",
        "Framework :: AsyncIO",
        "Intended Audience :: Developers",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: System :: Networking",
        "Typing :: Typed",
    ],
)
