import base64
import json
import time

import pytest

from evbus_like.testing.conformance import Record, SourceConformance, SourceFeatures, SourceTarget


class SpoolTarget(SourceTarget):
    provider = "spool"

    def __init__(self, folder):
        self.folder = folder

    def profile(self):
        return {"folder": str(self.folder)}

    async def publish(self, service, event_type, body, headers=None, id="", content_type="application/json", key=None):
        facts = {"id": id, "type": event_type, "headers": headers or {}, "content_type": content_type}
        topic = self.folder / f"{service}.events"
        topic.mkdir(parents=True, exist_ok=True)
        path = topic / f"{time.time_ns()}.tmp"
        path.write_text(json.dumps({**facts, "body": base64.b64encode(body).decode()}))
        path.rename(path.with_suffix(".json"))

    async def dead_letters(self, subscription):
        found = []
        for path in sorted(self.folder.glob(f"{subscription.dead}/*.json")):
            facts = json.loads(path.read_text())
            body = base64.b64decode(facts["body"])
            found.append(Record(facts["type"], body, facts["id"], facts["headers"], facts["content_type"]))
            path.unlink()
        return found


class TestSpool(SourceConformance):
    features = SourceFeatures(
        processes=False, survives_restart=False, rewinds=True, keeps_unwanted=True, dead_letters=False
    )

    @pytest.fixture
    def target(self, tmp_path):
        return SpoolTarget(tmp_path / "spool")
