"""A parameter of a declared event: its hint, its default, and values cast to it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import inspect as mi

from evbus_like.engine import values
from evbus_like.engine.declared import shape
from evbus_like.engine.errors import BadEvent, DeclarationError, SerializeError

# msgspec's message for a value that does not fit, such as "Expected `int`, got `str` - at `$.items[0]`"
WRONG = re.compile(r"(?P<said>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?", re.DOTALL)
VALUE = re.compile(r"^Invalid enum value .*?(?=(?: - at `\$[^`]*`)?$)", re.DOTALL)
EXPECTED = re.compile(r"Expected `(?P<wanted>[^`]*)`, got `(?P<got>[^`]*)`")


class Parameter:
    """One name of an event's body; `hint` is Any if the function gives none, `default` is in its plain form."""

    def __init__(self, name: str, hint: Any, default: Any, required: bool) -> None:
        self.name = name
        self.hint = hint
        self.required = required
        try:
            self.info = mi.type_info(hint)
            wrong = shape.problem(self.info)
        except Exception as error:  # msgspec raises many kinds of errors for types that it does not know
            wrong = f"{hint!r}, which msgspec cannot use: {error}"
        if wrong:
            raise DeclarationError(f"the hint of {name} has {wrong}")
        self._reshapes = bool(shape.named_tuples(self.info))
        self.default = None if required else self._checked(default)

    def _checked(self, default: Any) -> Any:
        try:
            return self.plain(self.cast(self.plain(default)))
        except (BadEvent, SerializeError) as error:
            advice = f"; if it may be None, say so: {self.name}: ... | None = None" if default is None else ""
            raise DeclarationError(f"the default of {self.name} does not fit its hint: {error}{advice}") from error

    def plain(self, value: Any) -> Any:
        """Give a value in the form that every serializer takes; raises SerializeError, which names the place."""
        return values.plain(value, False, self.name)

    def cast(self, value: Any, quote: bool = True) -> Any:
        """Cast a value to the hint; raises BadEvent, which names the place that does not fit.

        `quote=False` keeps the value out of the message: it was received, and may be anybody's secret.
        """
        if self.hint is Any:
            return value
        if self._reshapes:
            value = shape.listed(self.info, value)
        try:
            return msgspec.convert(value, self.hint, strict=False)
        except (msgspec.ValidationError, ValueError, RecursionError) as error:
            text = str(error)
            raise BadEvent(self._wrong(text if quote else VALUE.sub("Invalid enum value", text))) from None

    def _wrong(self, text: str) -> str:
        found = WRONG.fullmatch(text)
        assert found is not None  # it matches every text
        place = f"{'a key of ' if found['key'] else ''}{self.name}{found['path'] or ''}"
        kinds = EXPECTED.fullmatch(found["said"])
        if kinds is None:
            return f"{place}: {found['said']}"
        if self._reshapes and kinds.groups() == ("array", "object"):
            return f"{place} must be a list, or have exactly the names of {shape.named_tuples(self.info)}"
        return f"{place} must be {kinds['wanted']}, not {kinds['got']}"
