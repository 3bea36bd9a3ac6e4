"""Every option that a mark of a handler or a method declares, fed wrong values: named, in one short message."""

import inspect
import math
from enum import Enum
from types import SimpleNamespace

import pytest

from evbus_like import errors, handlers, tls
from evbus_like.hub.application import services
from evbus_like.testing import new_hub

LONG = "x" * 100_000
WRONG = {
    "bool": ["yes", 1, 0, None, [], {}, LONG, 10**5000],
    "int": [math.nan, math.inf, -5, 10**400, 10**5000, 1e300, True, "10s", "", None, [1], {}, b"1", LONG],
    "float": [math.nan, math.inf, -math.inf, -5, 10**400, 10**5000, 1e300, True, "10s", "", None, [1], {}, b"1", LONG],
    "str": [7, 10**5000, 1.5, True, False, ["json"], [LONG], {"a": 1}, {}, b"x", None],
    "str | Sequence[str]": [7, 10**5000, True, None, [1], [""], [None], "", b"x", [LONG, 7]],
    "type[BaseException] | Sequence[type[BaseException]]": ["x", LONG, 7, 10**5000, None, [1], int, [int], [LONG]],
}
MARKS = {"handler": handlers.handler, "method": handlers.method}
CHOICES = ("delivery", "on_error")  # any other text is wrong, too


def cases():
    """Yield (mark, option, wrong values) of every keyword that a mark has; a new one is covered without a change."""
    for mark, function in MARKS.items():
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.annotation == "Any" or parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue  # what `since` means is for the source to say
            kind = parameter.annotation.removesuffix(" | None")
            values = [each for each in WRONG[kind] if each is not None or kind == parameter.annotation]
            yield mark, name, [*values, LONG, "", "yes"] if name in CHOICES else values


def problem(mark, name, value, hub):
    """Give what is said of a function that is marked so, at the mark or at start."""

    async def function(hub, event):
        pass

    try:
        if mark == "handler":
            made = handlers.handler("shop", "sold", **{name: value})(function)
            return getattr(made, handlers.MARK)[0].problem()
        made = handlers.method(**{name: value})(function)
    except errors.HandlerError as error:
        return str(error)
    wrapper = SimpleNamespace(func=function, implicit_hub=True, **{handlers.METHOD: getattr(made, handlers.METHOD)})
    return services._trouble(services._method(hub, "service.shop.sell", "shop", "sell", wrapper))


CASES = list(cases())


@pytest.mark.parametrize(("mark", "name", "values"), CASES, ids=[f"{mark}-{name}" for mark, name, _ in CASES])
def test_a_wrong_value_of_an_option_of_a_mark_is_named_in_a_short_message(mark, name, values):
    hub = new_hub()
    for value in values:
        text = problem(mark, name, value, hub)
        assert name in text, f"{type(value).__name__} was accepted, or is not named: {text[:200]}"
        assert len(text) < 300, text[:100]


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_a_long_path_of_a_tls_file_is_shown_whole(name):
    path = "/etc/" + "certificates/" * 100 + "x.pem"
    block = {name: path} if name != "key_file" else {"cert_file": "/nowhere.pem", "key_file": path}
    with pytest.raises(errors.ProfileError) as caught:
        tls.context(block)
    assert path in str(caught.value)


class Name(str, Enum):  # noqa: UP042 - unlike StrEnum, it prints its name
    SHOP = "shop"


def test_a_member_of_an_enum_stands_for_its_value_in_every_option():
    @handlers.handler(Name.SHOP, (Name.SHOP, "other"), name=Name.SHOP, profile=Name.SHOP, sensitive=[Name.SHOP])
    async def function(hub, event): ...

    (options,) = getattr(function, handlers.MARK)

    texts = (options.source, *options.event_types, options.name, options.profile, *options.sensitive)
    assert [f"{text}" for text in texts] == ["shop", "shop", "other", "shop", "shop", "shop"]
