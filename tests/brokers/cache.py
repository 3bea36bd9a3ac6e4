"""The folder where the tests keep what they fetched once."""

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "fetching-"


def cache_folder() -> Path:
    """The folder of this project in the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache).resolve() / "evbus_like"


@contextlib.contextmanager
def filling(target: Path) -> Iterator[Path]:
    """Give a folder to work in; what is `target.name` in it at the end becomes the target, whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target.parent)
    # Beside the target, so that the rename at the end is one step.
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=_PREFIX) as work:
        made = Path(work, target.name)
        yield made
        with contextlib.suppress(OSError):
            os.rename(made, target)  # another process may have been quicker: then its folder is as good


def _remove_leftovers(cache: Path) -> None:
    # A killed run leaves its folder; one younger than an hour may belong to a run that still goes on.
    for folder in cache.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            if time.time() - folder.stat().st_mtime > 3600:
                shutil.rmtree(folder, ignore_errors=True)
