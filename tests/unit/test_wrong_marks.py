"""Every option that a mark of a handler or a method declares, fed wrong values: named, in one short message."""

import inspect
import math
from enum import Enum
from types import SimpleNamespace

import pytest

from evbus_like import errors, handlers, tls
from evbus_like.hub.application import handlers as application_handlers
from evbus_like.hub.application import services
from evbus_like.testing import new_hub

LONG = "x" * 100_000
WRONG = {
    "bool": ["yes", 1, 0, None, [], {}, LONG, 10**5000],
    "int": [math.nan, math.inf, -5, 10**400, 10**5000, 1e300, True, "10s", "", None, [1], {}, b"1", LONG],
    "float": [math.nan, math.inf, -math.inf, -5, 10**400, 10**5000, 1e300, True, "10s", "", None, [1], {}, b"1", LONG],
    "str": [7, 10**5000, 1.5, True, False, ["json"], [LONG], {"a": 1}, {}, b"x", None, "a\ud800", "a\0"],
    "str | Sequence[str]": [7, 10**5000, True, None, [1], [""], [None], "", b"x", [LONG, 7]],
    "Sequence[Rule]": ["x", LONG, 7, 10**5000, None, [1], [ValueError], int, {1: 2}],
    "Sequence[float]": ["x", LONG, -7, 10**5000, 10**400, None, True, [0], [math.nan], [1, "2"], int, [LONG]],
    "Callable[[Any, Any], Any]": [7, "x", LONG, [], int, lambda: True, lambda a: a, lambda a, b, c: a, LONG, 10**5000],
    "Breaker": [
        7,
        True,
        "x",
        LONG,
        [],
        int,
        {},
        handlers.Breaker(failures=LONG),  # type: ignore[arg-type]
        handlers.Breaker(only=[LONG]),  # type: ignore[arg-type]
        10**5000,
    ],
    "type[BaseException] | Sequence[type[BaseException]]": ["x", LONG, 7, 10**5000, None, [1], int, [int], [LONG]],
}
MARKS = {"handler": handlers.handler, "method": handlers.method}
OF_ANSWERS = ("on_response", "on_error")
CHOICES = ("delivery", "on_error")  # any other text is wrong, too


def cases():
    """Yield (mark, option, wrong values) of every keyword that a mark has; a new one is covered without a change."""
    for mark, function in MARKS.items():
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.annotation == "Any" or parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
                continue  # what `since` means is for the source to say
            kind = parameter.annotation.removesuffix(" | None")
            values = [each for each in WRONG[kind] if each is not None or kind == parameter.annotation]
            values = [*values, LONG, "", "yes"] if name in CHOICES else values
            yield mark, name, values
            if mark == "handler" and name in handlers.OF_ANSWERS:
                yield from ((each, name, values) for each in OF_ANSWERS)


def problem(mark, name, value, hub):
    """Give what is said of a function that is marked so, at the mark or at start."""

    async def function(hub, event):
        pass

    try:
        if mark == "handler":
            made = handlers.handler("shop", "sold", **{name: value})(function)
            return getattr(made, handlers.MARK)[0].problem()
        if mark in OF_ANSWERS:
            made = getattr(handlers, mark)("shop", "sell", **{name: value})(function)
            return getattr(made, handlers.ANSWERS)[0][1].problem()
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


PLACES = {
    "source": lambda value: handlers.handler(value, "sold"),
    "event_type": lambda value: handlers.handler("shop", value),
    "on_response service": lambda value: handlers.on_response(value, "sell"),
    "on_response method": lambda value: handlers.on_response("shop", value),
    "on_error service": lambda value: handlers.on_error(value, "sell"),
    "on_error method": lambda value: handlers.on_error("shop", value),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_wrong_source_event_type_service_or_method_is_named_in_a_short_message(place):
    async def function(hub, event): ...

    for value in (7, 10**5000, True, None, b"x", "", " ", [""], [None], [7], {}, [], "a\ud800", "a\0"):
        try:
            made = PLACES[place](value)(function)
            marks = getattr(made, handlers.MARK, None) or [each for _, each in getattr(made, handlers.ANSWERS)]
            text = marks[-1].problem()
        except errors.HandlerError as error:
            text = str(error)
        named = place.split()[-1]
        assert named in text, f"{type(value).__name__} {str(value)[:20]} was accepted, or is not named: {text[:200]}"
        assert len(text) < 300, text[:100]


@pytest.mark.parametrize(
    ("service", "problem"),
    [("7", "must be text, not 7"), (r"'a\ud800'", "must not contain '.ud800'"), (r"'a\0'", "must not contain a NUL")],
)
@pytest.mark.parametrize("dyne", ["handler", "service"])
def test_a_service_whose_name_is_no_text_is_named(app, dyne, service, problem):
    mark = "import evbus_like.handlers as evbus\n\n\n@evbus.handler('shop', 'sold')\n" if dyne == "handler" else ""
    hub = app(**{f"{dyne}__more": f"{mark}async def one(hub, event): ...\n\nSERVICE = {service}\n"})
    look_up = {"handler": application_handlers.found, "service": services.found}[dyne]
    application_handlers.load(hub)
    with pytest.raises(errors.HandlerError, match=rf"{dyne}.more: SERVICE {problem}"):
        look_up(hub)


@pytest.mark.parametrize("mark", OF_ANSWERS)
def test_an_option_that_a_handler_of_answers_does_not_have_is_named(mark):
    for name in ("delivery", "retries", "x" * 5000):
        with pytest.raises(errors.HandlerError, match=name[:20]) as caught:
            getattr(handlers, mark)("shop", "sell", **{name: 1})
        assert len(str(caught.value)) < 300


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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_priority": 0}, "max_priority must not be 0"),
        ({"max_priority": 256}, "max_priority must be a whole number from 0 to 255, not 256"),
        ({"max_priority": True}, "max_priority must be a whole number from 0 to 255, not True"),
        ({"max_priority": 5, "shards": 2}, "max_priority= changes the order of events, and shards= keeps it"),
    ],
)
def test_a_wrong_priority_is_named(options, message):
    @handlers.handler("orders", "placed", **options)
    def function(hub, event): ...

    assert message in getattr(function, handlers.MARK)[0].problem()
