"""The pytest fixtures that ship for applications, in an application of its own."""

import subprocess
import sys

from tests.in_memory.test_testing_bus import SHOP

FIXTURES = {
    "conftest.py": 'pytest_plugins = ["evbus_like.testing.fixtures"]\n',
    "pytest.ini": "[pytest]\naddopts = --strict-markers\npythonpath = .\n",
    "test_shop.py": """
        import pytest

        pytestmark = pytest.mark.asyncio

        async def test_the_bus_runs_all_handlers(bus):
            await bus.dispatch("orders", "order_placed", {"id": 7})
            assert (await bus.handled("shipping.told")).body == {"id": 7}

        @pytest.mark.evbus(only="shipping.ship")
        async def test_the_marker_chooses(bus, evbus_hub):
            assert bus.hub is evbus_hub
            with pytest.raises(Exception, match="does not run in this test"):
                await bus.handled("shipping.told")

        @pytest.mark.evbus("shipping.ship")
        async def test_a_wrong_marker(bus):
            pass
    """,
}


def test_the_fixtures_work_in_an_application_that_has_nothing_set_up(package, tmp_path):
    root = package({"handler/shipping.py": SHOP})
    for name, text in FIXTURES.items():
        lines = text.splitlines()
        (root / name).write_text("\n".join(line[8:] if line.startswith("        ") else line for line in lines))
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 passed, 1 error" in ran.stdout, ran.stdout
    assert "the marker is evbus(only=..., skip=..., postgres=...)" in ran.stdout
