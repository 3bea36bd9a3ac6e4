"""Run `evbus run` as one of the files of deploy/ does, with its HTTP port."""

import asyncio
import json
import subprocess
import urllib.error
import urllib.request
from contextlib import asynccontextmanager

from tests.deploy.programs import HANG, ran
from tests.integration.commands import EVBUS, environment, read_line_with


@asynccontextmanager
async def bus(folder, arguments, variables):
    """Run the command with these arguments and variables, and stop it; gives its process and the URL of its port."""
    own = environment(credentials=False) | variables
    process = await asyncio.to_thread(
        subprocess.Popen,
        [EVBUS, *arguments, "--json"],
        cwd=folder,
        env=own,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        started = json.loads(await read_line_with(process, process.stdout, '"event": "started"'))
        await read_line_with(process, process.stdout, '"event": "receiving"')
        yield process, started["http"]
        process.terminate()
        _, err = await asyncio.to_thread(process.communicate, timeout=HANG)
        assert process.returncode == 0, err
    finally:
        process.kill()
        process.communicate()


async def answer(url):
    """Give the HTTP status that a probe sees."""

    def ask():
        try:
            with urllib.request.urlopen(url, timeout=HANG) as opened:
                return opened.status
        except urllib.error.HTTPError as error:
            return error.code

    return await asyncio.to_thread(ask)


async def status(variables, url):
    """Give what `evbus status` says in the container; it asks the HTTP port."""
    host = variables["EVBUS_HTTP"].rpartition(":")[0] or "127.0.0.1"
    own = environment(credentials=False) | variables | {"EVBUS_HTTP": f"{host}:{url.rpartition(':')[2]}"}
    code, out = await asyncio.to_thread(ran, EVBUS, "status", env=own)
    assert code == 0, out
    return out


def firing(url):
    """Give the names of the alerts that fire."""
    try:
        with urllib.request.urlopen(f"{url}/api/v1/alerts", timeout=HANG) as answer:
            alerts = json.load(answer)["data"]["alerts"]
    except OSError:  # it is not up yet
        return set()
    return {each["labels"]["alertname"] for each in alerts if each["state"] == "firing"}
