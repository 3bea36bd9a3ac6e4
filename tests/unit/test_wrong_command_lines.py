"""Wrong options and environment variables of the command: exit code 2, their names, no traceback and no secret."""

import logging
import os
import sys
from typing import Any

import pop.hub
import pytest

from evbus_like import conf
from evbus_like.cli import main

SECRET = "hunter2"
HUGE = "9" * 5000  # more digits than Python makes an int of
WRONG = ["10s", " ", "-1", "nan", "inf", "1e400", "1_0", "0x10", "1,5", "１２", "true", "null", HUGE]
SETTINGS: dict[str, Any] = conf.CONFIG
NUMBERS = [name for name, spec in SETTINGS.items() if "range" in spec]
LINES = {  # what is needed beside options
    "explain": ["default"],
    "rpc": ["a.b"],
    "call-handler": ["a.b"],
    "tail": ["default"],
    "outbox": ["ls"],
    "dead": ["ls"],
}


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run the command in this process; gives the exit code and what it wrote to stderr."""
    credentials = tmp_path / "acct.yml"
    credentials.write_text("internal: {default: }\n")
    credentials.chmod(0o600)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for variable in [each for each in os.environ if each.startswith(("EVBUS_", "ACCT_"))]:
        monkeypatch.delenv(variable)

    def run(*arguments):
        needed = [] if arguments[0] in ("services", "events", "schema", "plan") else ["--acct-file", str(credentials)]
        monkeypatch.setattr(sys, "argv", ["evbus", *arguments, *needed])
        hub = pop.hub.Hub()
        hub.pop.sub.add(dyne_name="evbus")
        root = logging.getLogger()
        before, level = list(root.handlers), root.level
        try:
            with pytest.raises(SystemExit) as ended:
                main.finish(lambda: main._run(hub))
        finally:
            root.handlers[:] = before
            root.setLevel(level)
            logging.getLogger("evbus_like.handlers").setLevel(logging.NOTSET)  # call-handler silences it
        return ended.value.code, capsys.readouterr().err

    return run


def refused(result, *names):
    """Check that the command said what is wrong, briefly for each name, and did nothing."""
    code, said = result
    assert code == 2, said[:500]
    assert "Traceback" not in said
    assert "Error:" not in said
    assert SECRET not in said
    assert len(said) < 200 * (len(names) + 2), said[:500]  # usage and all
    for name in names:
        assert name in said, said[:500]


def numbers_of(subcommand):
    """Yield (option, setting) of the numbers that a subcommand has, under each of their names."""
    for name in NUMBERS:
        for option in (f"--{name.replace('_', '-')}", *conf.CLI_CONFIG.get(name, {}).get("options", ())):
            if subcommand in conf.CLI_CONFIG.get(name, {}).get("subcommands", ()):
                yield option, name


@pytest.mark.parametrize("subcommand", [each for each in conf.SUBCOMMANDS if [*numbers_of(each)]])
def test_every_wrong_number_of_a_subcommand_is_named_with_its_option(command, subcommand):
    options = list(numbers_of(subcommand))
    for turn in range(2):
        values = [WRONG[(turn * 5 + index) % len(WRONG)] for index in range(len(options))]
        given = [f"{option}={value}" for (option, _), value in zip(options, values, strict=True)]

        result = command(subcommand, *LINES.get(subcommand, ()), *given)

        refused(result, *[f"setting {name} must" for _, name in options], *[option for option, _ in options])


@pytest.mark.parametrize("wrong", WRONG, ids=lambda value: value[:10])
def test_every_wrong_environment_variable_is_named(command, monkeypatch, wrong):
    chosen = {}
    for name, spec in SETTINGS.items():
        flag = isinstance(spec["default"], bool) and wrong != "true"
        text = wrong == " " and name not in ("config", "acct_file")
        if "os" in spec and (name in NUMBERS or flag or text):
            chosen[name] = spec["os"]
    for variable in chosen.values():
        monkeypatch.setenv(variable, wrong)

    result = command("check")

    refused(result, *[f"setting {name} must" for name in chosen])
    assert all(f"environment variable {variable})" in result[1] for variable in chosen.values())


def test_a_number_from_the_environment_is_one_for_every_subcommand(command, monkeypatch):
    monkeypatch.setenv("EVBUS_RPC_TIMEOUT", "0.5")

    code, said = command("rpc", "a.b")

    assert code == 2
    assert "a service in memory can only be called by its own process" in said


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *[(["tail", "default", f"--since={each}"], "--since") for each in ("", "-1", "1e3", "nan", "٣", "-5m", HUGE)],
        *[(["tail", "default", f"--since={each}"], "--since") for each in ("2026-13-01", f"{HUGE}d", "0001-01-01")],
        *[(["dead", "ls", f"--older-than={each}"], "--older-than") for each in ("", "10", "-1s", "1y", f"{HUGE}s")],
        *[(["dead", "show", each], "number of a dead letter") for each in ("", HUGE)],
        *[(["call-handler", "a.b", f"--header={each}"], "--header") for each in ("", "=", "=v", "x" * 5000)],
        *[(["call-handler", "a.b", f"--body={each}"], "--body") for each in ("", "{", "[" * 100_000, HUGE)],
        *[(["rpc", each], "SERVICE.METHOD") for each in ("", "a", ".", "a.", "x" * 5000)],
        *[(["rpc", "a.b", each], "NAME=VALUE") for each in ("", "x", "=1", "x" * 5000)],
        *[(["check", f"--log-level={each}"], "--log-level") for each in ("", "nope", "-1", "1.5", "x" * 5000)],
        *[([each, "x" * 5000], "there is no action") for each in ("outbox", "dead")],
        (["call-handler", "x" * 5000], "there is no handler"),
        (["run", "--app", "x" * 5000], "there is no application"),
        (["check", f"--acct-key={SECRET}"], "the key is not valid"),
        (["tail", "default", "--service", " "], "--service"),
        (["explain", "default", "--match-plugin="], "--match-plugin"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_other_wrong_arguments_are_named(command, arguments, named):
    refused(command(*arguments), named)
