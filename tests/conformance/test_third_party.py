"""The conformance suite on a plugin of another package, found by app-merge: its author writes no more than this."""

from pathlib import Path

import pytest

from evbus_like.testing import eventually
from evbus_like.testing.conformance import Features, IngressConformance, Record, Target

PLUGINS = Path(__file__).parent / "plugins"


class ShelfTarget(Target):
    """A folder; moved away, it is absent."""

    provider = "shelf"
    keys = ("one", "two", "three")
    missing_key = "no/such/file"

    def __init__(self, folder):
        self.folder = folder
        self.lines_read = dict.fromkeys(self.keys, 0)

    def profile(self):
        return {"folder": str(self.folder)}

    def fixed_profile(self):
        return {**self.profile(), "file": "one"}

    async def read(self, count):
        await eventually(lambda: len(self.records()) >= count)
        records = self.records()
        for record in records:
            self.lines_read[record.routing_key] += 1
        return records

    def records(self):
        paths = [path for path in map(self.folder.joinpath, self.keys) if path.exists()]
        new = {path.name: path.read_text().splitlines()[self.lines_read[path.name] :] for path in paths}
        return [Record(key, bytes.fromhex(line)) for key, lines in new.items() for line in lines]

    async def kill(self):
        self.folder.rename(self.folder.with_suffix(".away"))

    async def start(self):
        self.folder.with_suffix(".away").rename(self.folder)


class TestShelf(IngressConformance):
    features = Features(headers=False, content_type=False, refuses_login=False)

    @pytest.fixture
    def target(self, tmp_path, monkeypatch):
        monkeypatch.syspath_prepend(PLUGINS)
        folder = tmp_path / "shelf"
        folder.mkdir()
        return ShelfTarget(folder)
