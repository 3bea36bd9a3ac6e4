"""The bodies of requests and answers, in nameko's format (nameko 2.14, nameko/rpc.py and exceptions.py).

A request is {"args": [...], "kwargs": {...}}. An answer is {"result": ..., "error": null} or, for an error,
{"result": null, "error": {"exc_type", "exc_path", "exc_args", "value"}}, with "code" added if the exception has one. An
error is data: it imports no class and makes no object but evbus_like's own errors.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evbus_like.engine.errors import (
    BadRequest,
    IncorrectSignature,
    MethodNotFound,
    Refused,
    RemoteError,
    RpcError,
    UnknownService,
    UnserializableValue,
)

LONGEST = 2000  # characters of an error's text, and of each of its arguments
MOST = 20  # arguments, or entries of one

SOURCE = "evbus-source"  # header: who sent it, "world.hello" for an answer
TYPE = "evbus-type"  # header of an answer: response or error
RESPONSE, ERROR = "response", "error"
HOPS = "evbus-hops"  # header: how many times a request was handed on
MOST_HOPS = 20

# errors that have a class on both sides, by nameko's path or by one of our own
KNOWN: dict[str, type[RpcError]] = {
    "nameko.exceptions.MethodNotFound": MethodNotFound,
    "nameko.exceptions.IncorrectSignature": IncorrectSignature,
    "nameko.exceptions.MalformedRequest": BadRequest,
    "nameko.exceptions.UnserializableValueError": UnserializableValue,
    "evbus.UnknownService": UnknownService,
    "evbus.Refused": Refused,
}
PATHS: dict[type[BaseException], str] = {known: path for path, known in KNOWN.items()}


@dataclass(frozen=True)
class Transfer:
    """What a method returns to hand its request on: `service.method` answers the first caller instead."""

    service: str
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)


def request(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a request."""
    return {"args": list(args), "kwargs": dict(kwargs)}


def arguments(body: Any) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a request; raises BadRequest if the body is not a request."""
    if not isinstance(body, Mapping) or not isinstance(body.get("args"), list):
        raise BadRequest('a request is {"args": [...], "kwargs": {...}}')
    kwargs = body.get("kwargs")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise BadRequest('the "kwargs" of a request map names to values')
    return list(body["args"]), dict(kwargs)


def answer(result: Any) -> dict[str, Any]:
    """Return the body of an answer."""
    return {"result": result, "error": None}


def refusal(error: BaseException, own: bool = True) -> dict[str, Any]:
    """Return the body of an answer for an error; it can always be serialized.

    `own` says that the error is about this request. An error that the method got from another call is reported as
    raised by the method, not as a mistake of the caller.
    """
    if isinstance(error, RemoteError):  # an error of another service keeps its name
        names = {"exc_type": error.exc_type, "exc_path": error.exc_path}
        return _error(error.exc_args, error.value, error.code, **names)
    kind = type(error)
    path = PATHS.get(kind, "") if own and isinstance(error, RpcError) else ""
    path = path or text(f"{_module(kind)}.{kind.__qualname__}")
    try:
        args, code = getattr(error, "args", ()), getattr(error, "code", None)
    except KeyboardInterrupt:
        raise
    except BaseException:  # attributes may be properties, and raise
        args, code = (), None
    return _error(args, text(error), code, exc_type=path.rpartition(".")[2], exc_path=path)


def _module(kind: type) -> str:
    """Return the name of a class's module; of a plugin, whose name is its whole path, only the last two parts."""
    name = str(kind.__module__)
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(file, str) and file.removesuffix(".py").strip(os.sep).replace(os.sep, ".") == name:
        return ".".join(name.rsplit(".", 2)[-2:])  # callers must not see where a service's files are
    return name


def _error(args: Any, value: str, code: Any, **names: str) -> dict[str, Any]:
    args = args[:MOST] if isinstance(args, (tuple, list)) else ()
    error = {**names, "exc_args": [safe(each) for each in args], "value": value}
    if isinstance(code, (int, str)):
        error["code"] = safe(code)
    return {"result": None, "error": error}


def result(body: Any, called: str) -> Any:
    """Return the result of an answer; raises its error, and BadRequest if the body is not an answer."""
    if not isinstance(body, Mapping) or "result" not in body:
        raise BadRequest(f"{called} gave an answer that is none: an answer has a result and an error")
    given = body.get("error")
    if given is None:
        return body["result"]
    error = facts(given)
    known = KNOWN.get(error["path"])
    if known is not None:
        raise known(f"{called}: {error['message']}")
    raise RemoteError(called, error["class"], error["message"], error["code"], error["path"], error["args"])


def facts(given: Any) -> dict[str, Any]:
    """Return an answer's error as plain data (class, message, code, args, path), whatever was sent."""
    if not isinstance(given, Mapping):
        given = {"value": given}
    args, code = given.get("exc_args"), given.get("code")
    return {
        "class": text(given.get("exc_type") or "Exception"),
        "message": text(given.get("value", "")),
        "code": safe(code) if isinstance(code, (int, str)) else None,
        "args": [safe(each) for each in args[:MOST]] if isinstance(args, list) else [],
        "path": text(given.get("exc_path") or ""),
    }


def text(value: Any) -> str:
    """Return a value as text, even if its own conversion fails."""
    try:
        shown = str(value)
        if not shown.isascii():
            shown = shown.encode(errors="replace").decode()  # a lone surrogate is not valid UTF-8
    except KeyboardInterrupt:
        raise
    except BaseException:
        shown = f"<{type(value).__name__} that has no text>"
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def safe(value: Any, depth: int = 5) -> Any:
    """Return a value as plain data: builtins, shortened, and text for everything else."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) < 2**53 else text(hex(value))  # Python limits the number of decimal digits
    if kind is float:
        return value if math.isfinite(value) else text(value)
    if depth and kind is dict:
        return {text(name): safe(each, depth - 1) for name, each in list(value.items())[:MOST]}
    if depth and kind in (list, tuple):
        return [safe(each, depth - 1) for each in value[:MOST]]
    return text(value)
