"""`evbus check` finds what is wrong with profiles without sending, and says what to do."""

import json

import pytest

from evbus_like import conf
from evbus_like.cli import check
from evbus_like.engine.errors import HandlerError, ProfileError
from evbus_like.hub.profiles import plan


@pytest.fixture
def checked(hub, tmp_path, capsys):
    """Run the check of a credentials file; gives the exit code and the problem of each profile."""

    async def run(profiles, **settings):
        path = tmp_path / "acct.yml"
        path.write_text(json.dumps(profiles))
        path.chmod(0o600)
        defaults = {name: spec["default"] for name, spec in conf.CONFIG.items()}
        given = {**defaults, "acct_file": str(path), "json": True, "timeout": 5.0, **settings}
        hub.OPT = hub.pop.data.imap({"evbus_like": given})
        code = await check.run(hub)
        return code, {row["profile"]: row["problem"] for row in json.loads(capsys.readouterr().out)}

    return run


async def test_a_profile_in_memory_is_well(checked):
    assert await checked({"internal": {"default": None}}) == (0, {"internal:default": ""})


async def test_dead_letters_that_no_profile_takes_are_a_problem(checked, hub):
    profiles = {"internal": {"default": {"dead_letter": "parkng"}, "parking": None}}

    code, problems = await checked(profiles)

    assert code == 1
    said = "option dead_letter: no profile takes the events of 'parkng'; did you mean 'parking'?"
    assert problems == {"internal:default": said, "internal:parking": ""}
    with pytest.raises(ProfileError, match="option dead_letter: no profile takes"):
        plan.entries(hub, profiles, hub.evbus.RUNTIME.reporter)
    profiles["internal"]["default"]["dead_letter"] = "parking"
    assert (await checked(profiles))[0] == 0


async def test_options_of_handlers_are_checked_with_those_of_puts(checked):
    code, problems = await checked({"amqp": {"default": {"dead_letter_exchange": "x" * 300}}})

    assert code == 1
    assert "dead_letter_exchange is longer than 255 bytes" in problems["amqp:default"]


async def test_a_profile_that_a_services_file_names_must_exist(checked, tmp_path):
    file = tmp_path / "services.yml"
    file.write_text("shop: {profile: defalt}\nother: {profile: default}\n")

    code, problems = await checked({"internal": {"default": None}}, services_file=str(file))

    assert (code, problems["defalt"]) == (1, f"unknown; the service shop in {file} needs it")
    file.write_text("shop: 7")
    with pytest.raises(HandlerError, match="services file"):
        await checked({"internal": {"default": None}}, services_file=str(file))
