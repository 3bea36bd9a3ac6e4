"""Requests and answers as they stand on the wire: nameko's forms (nameko 2.14, nameko/rpc.py and exceptions.py).

A request is {"args": [...], "kwargs": {...}}. An answer is {"result": ..., "error": null} or, for an error,
{"result": null, "error": {"exc_type", "exc_path", "exc_args", "value"}}, to which we add "code" where the exception has
one. An error is data: no class is imported and no object is made from it but ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evbus_like.engine.errors import (
    BadRequest,
    IncorrectSignature,
    MethodNotFound,
    RemoteError,
    RpcError,
    UnserializableValue,
)

LONGEST = 2000  # characters of an error's text, and of each of its arguments
MOST = 20  # arguments, or entries of one

# Errors that both sides have a class for, by nameko's path of them
KNOWN: dict[str, type[RpcError]] = {
    "nameko.exceptions.MethodNotFound": MethodNotFound,
    "nameko.exceptions.IncorrectSignature": IncorrectSignature,
    "nameko.exceptions.MalformedRequest": BadRequest,
    "nameko.exceptions.UnserializableValueError": UnserializableValue,
}


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


def refusal(error: BaseException) -> dict[str, Any]:
    """Give the body of an answer that is an error; whatever the error is, the body can be serialized."""
    kind = type(error)
    path = next((path for path, known in KNOWN.items() if known is kind), "")
    path = path or f"{kind.__module__}.{kind.__qualname__}"
    told: dict[str, Any] = {
        "exc_type": path.rpartition(".")[2],
        "exc_path": path,
        "exc_args": [safe(each) for each in getattr(error, "args", ())[:MOST]],
        "value": text(error),
    }
    if isinstance(error, RemoteError):  # an error that came from further away keeps its name
        told.update(exc_type=error.exc_type, exc_path=error.exc_path, exc_args=error.exc_args, value=error.value)
    code = getattr(error, "code", None)
    if isinstance(code, (int, str)):
        told["code"] = code
    return {"result": None, "error": told}


def result(body: Any, called: str) -> Any:
    """Take an answer apart; raises the error that it holds, and BadRequest for what is no answer."""
    if not isinstance(body, Mapping) or "result" not in body:
        raise BadRequest(f"{called} gave an answer that is none: an answer has a result and an error")
    told = body.get("error")
    if told is None:
        return body["result"]
    if not isinstance(told, Mapping):
        told = {"exc_type": "Exception", "value": text(told)}
    value, known = text(told.get("value", "")), KNOWN.get(str(told.get("exc_path")))
    if known is not None:
        raise known(f"{called}: {value}")
    args = told.get("exc_args")
    raise RemoteError(
        called,
        exc_type=text(told.get("exc_type", "Exception")),
        value=value,
        code=told.get("code"),
        exc_path=text(told.get("exc_path", "")),
        exc_args=[safe(each) for each in args[:MOST]] if isinstance(args, list) else [],
    )


def text(value: Any) -> str:
    """Give a value as text, whatever it does when asked."""
    try:
        shown = str(value)
    except Exception:
        shown = f"<{type(value).__name__} that has no text>"
    return shown if len(shown) <= LONGEST else f"{shown[:LONGEST]}..."


def safe(value: Any, depth: int = 5) -> Any:
    """Give a value as plain data: builtins as they are, cut short, and text for all else."""
    if value is None or isinstance(value, (bool, int, float)):
        return value if value is None or abs(value) < 2**53 else text(value)
    if isinstance(value, str):
        return text(value)
    if depth and isinstance(value, Mapping):
        return {text(name): safe(each, depth - 1) for name, each in list(value.items())[:MOST]}
    if depth and isinstance(value, (list, tuple)):
        return [safe(each, depth - 1) for each in value[:MOST]]
    return text(value)
