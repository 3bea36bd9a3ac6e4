"""Requests and answers as they stand on the wire: nameko's forms (nameko 2.14, nameko/rpc.py and exceptions.py).

A request is {"args": [...], "kwargs": {...}}. An answer is {"result": ..., "error": null} or, for an error,
{"result": null, "error": {"exc_type", "exc_path", "exc_args", "value"}}, to which we add "code" where the exception has
one. An error is data: no class is imported and no object is made from it but ours.
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
HOPS = "evbus-hops"  # header: how often a request was handed on
MOST_HOPS = 20

# Errors that both sides have a class for, by nameko's path of them, or by one that is ours alone
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
    """Give the body of a request."""
    return {"args": list(args), "kwargs": dict(kwargs)}


def arguments(body: Any) -> tuple[list[Any], dict[str, Any]]:
    """Take a request apart; raises BadRequest for what is none."""
    if not isinstance(body, Mapping) or not isinstance(body.get("args"), list):
        raise BadRequest('a request is {"args": [...], "kwargs": {...}}')
    kwargs = body.get("kwargs")
    if not isinstance(kwargs, Mapping) or not all(isinstance(name, str) for name in kwargs):
        raise BadRequest('the "kwargs" of a request map names to values')
    return list(body["args"]), dict(kwargs)


def answer(result: Any) -> dict[str, Any]:
    """Give the body of an answer."""
    return {"result": result, "error": None}


def refusal(error: BaseException, own: bool = True) -> dict[str, Any]:
    """Give the body of an answer that is an error; whatever the error is, the body can be serialized.

    `own` says that the error is about this request. One that the method got from a call of its own is told as what the
    method raised, and not as if the caller had made the mistake.
    """
    if isinstance(error, RemoteError):  # an error that came from further away keeps its name
        names = {"exc_type": error.exc_type, "exc_path": error.exc_path}
        return _told(error.exc_args, error.value, error.code, **names)
    kind = type(error)
    path = PATHS.get(kind, "") if own and isinstance(error, RpcError) else ""
    path = path or text(f"{_module(kind)}.{kind.__qualname__}")
    try:
        args, code = getattr(error, "args", ()), getattr(error, "code", None)
    except Exception:  # attributes may be properties, and raise
        args, code = (), None
    return _told(args, text(error), code, exc_type=path.rpartition(".")[2], exc_path=path)


def _module(kind: type) -> str:
    """Give the name of a class's module; of one that is named by its whole path, as plugins are, the last two parts."""
    name = str(kind.__module__)
    file = getattr(sys.modules.get(name), "__file__", None)
    if isinstance(file, str) and file.removesuffix(".py").strip(os.sep).replace(os.sep, ".") == name:
        return ".".join(name.rsplit(".", 2)[-2:])  # where a service's files lie is not the caller's business
    return name


def _told(args: Any, value: str, code: Any, **names: str) -> dict[str, Any]:
    told = {**names, "exc_args": [safe(each) for each in args[:MOST]], "value": value}
    if isinstance(code, (int, str)):
        told["code"] = safe(code)
    return {"result": None, "error": told}


def result(body: Any, called: str) -> Any:
    """Take an answer apart; raises the error that it holds, and BadRequest for what is no answer."""
    if not isinstance(body, Mapping) or "result" not in body:
        raise BadRequest(f"{called} gave an answer that is none: an answer has a result and an error")
    told = body.get("error")
    if told is None:
        return body["result"]
    error = facts(told)
    known = KNOWN.get(error["path"])
    if known is not None:
        raise known(f"{called}: {error['message']}")
    raise RemoteError(called, error["class"], error["message"], error["code"], error["path"], error["args"])


def facts(told: Any) -> dict[str, Any]:
    """Give an answer's error as plain data: class, message, code, args and path, whatever was sent."""
    if not isinstance(told, Mapping):
        told = {"value": told}
    args, code = told.get("exc_args"), told.get("code")
    return {
        "class": text(told.get("exc_type") or "Exception"),
        "message": text(told.get("value", "")),
        "code": safe(code) if isinstance(code, (int, str)) else None,
        "args": [safe(each) for each in args[:MOST]] if isinstance(args, list) else [],
        "path": text(told.get("exc_path") or ""),
    }


def text(value: Any) -> str:
    """Give a value as text, whatever it does when asked."""
    try:
        shown = str(value)
        if not shown.isascii():
            shown = shown.encode(errors="replace").decode()  # half a surrogate has no form in UTF-8
    except Exception:
        shown = f"<{type(value).__name__} that has no text>"
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def safe(value: Any, depth: int = 5) -> Any:
    """Give a value as plain data: builtins as they are, cut short, and text for all else."""
    kind = type(value)
    if value is None or kind is bool:
        return value
    if kind is int:
        return value if abs(value) < 2**53 else text(hex(value))  # decimal digits may be more than Python gives
    if kind is float:
        return value if math.isfinite(value) else text(value)
    if depth and kind is dict:
        return {text(name): safe(each, depth - 1) for name, each in list(value.items())[:MOST]}
    if depth and kind in (list, tuple):
        return [safe(each, depth - 1) for each in value[:MOST]]
    return text(value)
