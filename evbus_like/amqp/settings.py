"""The settings of a profile: where to connect, how, and the exchange to declare."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any
from urllib.parse import unquote

from yarl import URL

from evbus_like import tls
from evbus_like.engine.cloudevents import AMQP, CloudEvents
from evbus_like.engine.errors import ProfileError
from evbus_like.engine.host_names import host_and_port, is_host
from evbus_like.engine.options import problems
from evbus_like.engine.suggest import did_you_mean, shown, text_problem

NUMBER = (int, float)
LONGEST_NAME = 255  # bytes
CONNECT_TIMEOUT = 10.0  # seconds
CONNECTION = {
    "url": (str, "amqp://user:password@host:port/vhost, or amqps:// for TLS; instead of the next five"),
    "host": (str, "the broker's host name (default: localhost)"),
    "hosts": ((str, list, tuple), "the nodes of a cluster, host or host:port; instead of host"),
    "port": (int, "the broker's port (default: 5672, with TLS 5671)"),
    "login": (str, "the user (default: guest)"),
    "password": (str, "the user's password (default: guest)"),
    "virtualhost": (str, "the virtual host (default: /)"),
    "ssl": (bool, "true: connect by TLS (default: false)"),
    "ssl_options": (
        Mapping,
        "cafile, capath, cadata, certfile, keyfile, no_verify_ssl: aio-pika's names, for profiles of evbus-pika",
    ),
    "heartbeat": (NUMBER, "seconds between signs of life (default: 60; 10 with several hosts or addresses)"),
    "timeout": ((*NUMBER, type(None)), "seconds that connecting may take (default: the profile's timeout)"),
    "client_properties": (Mapping, "what the broker shows of this client"),
    "name": (str, "the connection's name in the broker's listings"),
}
DECLARE = {
    "type": (str, "topic, direct, fanout, headers, or a type that a plugin of the broker brings (default: topic)"),
    "durable": (bool, "the exchange survives a restart of the broker (default: true)"),
    "auto_delete": (bool, "the exchange is deleted with its last binding (default: false)"),
    "internal": (bool, "only other exchanges may publish to it (default: false)"),
    "arguments": (Mapping, "further arguments, such as alternate-exchange"),
}
TYPES = ("topic", "direct", "fanout", "headers")
OF_PLUGINS = "x-"  # what types begin with that a plugin of the broker brings (the specification's 3.1.3)
CLUSTER_HEARTBEAT = "10"  # seconds: another host may take over, so a dead one is to be noticed soon
# No part of a URL that has not this form is shown: an @, /, ? or # of a password would move its end elsewhere.
FORM = re.compile(r"amqps?://([^/?#\s]*@)?([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d{1,5})?(/[^?#@\s]*)?(\?[^#@\s]*)?")
ENCODE = (
    "nothing of it is shown, because its password may be in the wrong place: percent-encode the password"
    " (/ is %2F, @ is %40, # is %23, ? is %3F), or give host, login and password as options"
)
AS_OPTIONS = "a URL is the option url; user and password are the options login and password"
# aio-pika's names of TLS options, in ssl_options and in URLs: the names in an ssl: block
TLS_NAMES = {
    "cafile": "ca_file",
    "capath": "ca_path",
    "cadata": "ca_data",
    "certfile": "cert_file",
    "keyfile": "key_file",
    "no_verify_ssl": "verify",
}


ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
FLAG = (str, bool, int)  # the texts of a URL, and what aio-pika takes
TLS_OPTIONS = {name: (FLAG if name == "no_verify_ssl" else str, "") for name in TLS_NAMES}


@dataclass(frozen=True)
class Target:
    """Where to connect and how. Error messages name `place` and `user`; neither is a secret.

    `address` is one of those that the host's name has, if it is known. It is a `second_choice` if it is of another
    family, IPv4 or IPv6, than the first one that the system names.
    """

    url: URL
    context: ssl.SSLContext | None
    place: str
    user: str
    timeout: float
    address: str = ""
    second_choice: bool = False

    def __repr__(self) -> str:  # a URL's repr shows its password
        return f"<Target {self.place} user={self.user!r} tls={self.context is not None}>"


def targets(acct: Mapping[str, Any]) -> tuple[Target, ...]:
    """Return the targets of a profile, one for each host; raises ProfileError."""
    connection = acct.get("connection")
    if isinstance(connection, (list, tuple)):
        found = _of_urls(acct, connection)
    elif isinstance(connection, Mapping) and "hosts" in connection:
        found = _of_hosts(acct, connection)
    else:
        return (target(acct),)
    several = tuple({each.place: each for each in found}.values())
    return several if len(several) < 2 else tuple(map(for_cluster, several))


def for_cluster(made: Target) -> Target:
    """Return a target of one of several hosts: it has a short heartbeat, unless the profile has one."""
    if "heartbeat" in made.url.query:
        return made
    return replace(made, url=made.url.update_query(heartbeat=CLUSTER_HEARTBEAT))


def _of_urls(acct: Mapping[str, Any], urls: Sequence[Any]) -> list[Target]:
    if not urls:
        raise ProfileError("connection is an empty list; name one URL or more, such as amqp://user:password@host/")
    found = []
    for number, url in enumerate(urls, 1):
        if not isinstance(url, str):
            raise ProfileError(f"connection is a list, and its entry {number} is no URL but a {type(url).__name__}")
        if not url:  # would be the default, a RabbitMQ of this machine
            raise ProfileError(f"connection is a list, and its entry {number} is empty")
        try:
            found.append(target({**acct, "connection": url}))
        except ProfileError as error:
            raise ProfileError(f"URL {number} of {len(urls)}: {error}") from None
    parts: dict[str, set[Any]] = {
        "scheme: use amqps:// in all, or amqp://": {each.url.scheme for each in found},
        "user": {each.url.user for each in found},
        "password": {each.url.password for each in found},
        "virtual host": {each.url.path.strip("/") for each in found},
        "query": {each.url.query_string for each in found},
    }
    if differ := [name for name, values in parts.items() if len(values) > 1]:
        raise ProfileError(
            f"the URLs of connection are those of one cluster, and must not differ in their {', '.join(differ)};"
            " another cluster is another profile"
        )
    return found


def _of_hosts(acct: Mapping[str, Any], connection: Mapping[str, Any]) -> list[Target]:
    _check_connection(connection)
    hosts, rest = connection["hosts"], {name: value for name, value in connection.items() if name != "hosts"}
    if both := sorted(set(rest) & {"url", "host"}):
        raise ProfileError(f"connection has hosts and also {', '.join(both)}; give one or the other")
    found = []
    for number, entry in enumerate(hosts.split(",") if isinstance(hosts, str) else hosts, 1):
        if not entry.strip():
            raise ProfileError(f"entry {number} of connection.hosts is empty; is there a comma too many?")
        split = host_and_port(entry.strip())
        if split is None:
            raise ProfileError(
                f"entry {number} of connection.hosts is no host or host:port, and is not shown: {AS_OPTIONS}; an IPv6"
                " address is written [::1]"
            )
        port = {"port": split.port} if split.port is not None else {}
        if port and (wrong := list(problems(port, CONNECTION))):
            raise ProfileError(f"entry {number} of connection.hosts: {'; '.join(wrong)}")
        found.append(target({**acct, "connection": {**rest, "host": split.host, **port}}))
    return found


def _check_connection(given: Mapping[str, Any]) -> None:
    wrong = list(problems(given, CONNECTION, "connection."))
    if isinstance(given.get("client_properties"), Mapping):
        wrong += _table_problems("connection.client_properties", given["client_properties"])
    if wrong:
        raise ProfileError("; ".join(wrong))


def target(acct: Mapping[str, Any]) -> Target:
    """Return the target of a profile with one host; raises ProfileError."""
    given = acct.get("connection") or {}
    given = {"url": given} if isinstance(given, str) else dict(given)
    _check_connection(given)
    url = _url(given)
    block = {**_url_tls(url), **_translated(given.get("ssl_options") or {}), **(acct.get("ssl") or {})}
    asked = (given.get("ssl_options"), acct.get("ssl"))
    wants_tls = url.scheme == "amqps" or bool(given.get("ssl") or block) or any(part is not None for part in asked)
    if wants_tls:
        url = url.with_scheme("amqps")  # aiormq speaks TLS for this scheme alone
    if not url.explicit_port:
        url = url.with_port(5671 if wants_tls else 5672)
    query = {name: value for name, value in url.query.items() if name not in TLS_NAMES}
    for name in ("heartbeat", "name"):
        if given.get(name) is not None:
            query[name] = str(int(given[name]) if name == "heartbeat" else given[name])
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host
    place = f"{host}:{url.port}{'' if url.path in ('', '/', '//') else ' virtual host ' + unquote(url.path[1:])}"
    return Target(
        url.with_query(query),
        tls.context(block) if wants_tls else None,
        place,
        url.user or "guest",
        float(given.get("timeout") or acct.get("timeout") or CONNECT_TIMEOUT),
    )


def _url(given: Mapping[str, Any]) -> URL:
    if given.get("url"):
        both = sorted(set(given) & {"host", "port", "login", "password", "virtualhost"})
        if both:
            raise ProfileError(f"connection has a url and also {', '.join(both)}; give one or the other")
        return _parsed(given["url"])
    if not is_host(given.get("host", "localhost")):
        raise ProfileError(
            "connection.host is no host name or address, and is not shown: a port is the option port, several hosts are"
            f" the option hosts, {AS_OPTIONS}"
        )
    return URL.build(
        scheme="amqp",
        host=given.get("host", "localhost"),
        port=given.get("port"),
        user=given.get("login", "guest"),
        password=given.get("password", "guest"),
        path="/" + given.get("virtualhost", "/"),
    )


def _parsed(text: str) -> URL:
    """Parse a URL, or raise a ProfileError that shows nothing of it: any part may belong to its password."""
    form = FORM.fullmatch(text)
    try:
        url = URL(text) if form else None
        host = url.host if url is not None and url.port != 0 else None  # raises for an impossible port
    except ValueError:
        url = host = None
    if not text.startswith(("amqp://", "amqps://")):
        raise ProfileError(f"connection.url must begin with amqp:// or amqps://; {ENCODE}")
    if url is None or not host or not is_host(host):
        raise ProfileError(
            f"connection.url is no valid URL, such as amqp://host:5672/vhost; {ENCODE}. For several hosts, connection"
            " is a list of URLs"
        )
    numbers = {name: url.query[name] for name in ("heartbeat", "timeout") if name in url.query}
    values = {
        name: int(value) if re.fullmatch(r"\d{1,9}", value, re.ASCII) else value for name, value in numbers.items()
    }
    if wrong := list(problems(values, CONNECTION, "connection.url: ")):
        raise ProfileError("; ".join(wrong))
    return url


def _translated(options: Mapping[str, Any]) -> dict[str, Any]:
    wrong = list(problems(options, TLS_OPTIONS, "connection.ssl_options."))
    if wrong:
        raise ProfileError("; ".join(wrong))
    block = {TLS_NAMES[name]: value for name, value in options.items()}
    if "verify" in block:
        word = str(block["verify"]).lower()
        if word not in (*ON, *OFF):
            raise ProfileError(
                f"option connection.ssl_options.no_verify_ssl is true or false, not {shown(block['verify'])}"
            )
        block["verify"] = word not in ON
    return block


def _url_tls(url: URL) -> dict[str, Any]:
    return _translated({name: value for name, value in url.query.items() if name in TLS_NAMES})


def client_properties(acct: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the broker shows of this client, as the profile says."""
    connection = acct.get("connection")
    return dict(connection.get("client_properties") or {}) if isinstance(connection, Mapping) else {}


@dataclass(frozen=True)
class PublishOptions:
    """The options of a profile for publishing; the exchange `""` is the default exchange."""

    exchange: str = ""
    declare: Mapping[str, Any] | None = None
    declare_events: bool = True
    fixed_key: str | None = None
    by_service: bool = False  # events of services go to exchanges of their own, unless the profile names a place
    mandatory: bool = True
    service_mandatory: bool = False  # an event of a service need not have a listener
    persistent: bool = True
    app_id: str = ""
    id_header: str = ""
    batched: bool = True

    @classmethod
    def of(cls, acct: Mapping[str, Any]) -> PublishOptions:
        """Return those of a profile."""
        exchange = acct.get("exchange") or "default"
        fixed_key = acct.get("routing_key") or None
        return cls(
            exchange="" if exchange == "default" else exchange,
            declare=acct.get("declare"),
            declare_events=acct.get("declare_events", True),
            fixed_key=fixed_key,
            by_service=not acct.get("exchange") and fixed_key is None,
            mandatory=acct.get("mandatory", True),
            service_mandatory=acct.get("mandatory", False),
            persistent=acct.get("persistent", True),
            app_id=acct.get("app_id", ""),
            id_header=acct.get("id_header", ""),
            batched=acct.get("batched", True),
        )


def cloud_events(acct: Mapping[str, Any], source: str = "") -> CloudEvents | None:
    """Return how the profile makes CloudEvents, None if it does not; raises ProfileError."""
    prefix = acct.get("cloudevents_prefix", AMQP[0])
    if prefix not in AMQP:
        raise ProfileError(f"option cloudevents_prefix must be {' or '.join(AMQP)}, not {shown(prefix)}")
    return CloudEvents.of(acct, prefix, source)


def check_declare(acct: Mapping[str, Any]) -> None:
    """Raise ProfileError if the `declare:` block is wrong, or the profile names no exchange."""
    block = acct.get("declare")
    if block is None:
        return
    wrong = list(problems(block, DECLARE, "declare."))
    kind = block.get("type")
    if isinstance(kind, str) and kind and kind not in TYPES and not kind.startswith(OF_PLUGINS):
        wrong.append(
            f"option declare.type is {', '.join(TYPES)}, or a type of a plugin of the broker, which begins with"
            f" {OF_PLUGINS}, not {shown(kind)}; {did_you_mean(kind, TYPES)}"
        )
    if isinstance(block.get("arguments"), Mapping):
        wrong += _table_problems("declare.arguments", block["arguments"])
    if acct.get("exchange") in (None, "", "default"):
        wrong.append("declare needs the exchange's name; the default exchange always exists")
    if wrong:
        raise ProfileError("; ".join(wrong))


def _table_problems(place: str, value: Any) -> Iterator[str]:
    """Yield what AMQP cannot hold of a table of a broker's arguments."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            if not isinstance(name, str) or text_problem(name) or not 0 < len(name.encode()) <= LONGEST_NAME:
                yield f"option {place} has a name that is no text of 1 to {LONGEST_NAME} bytes, {shown(name)}"
            else:
                yield from _table_problems(f"{place}.{name}", each)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            yield from _table_problems(f"{place}[{number}]", each)
    elif isinstance(value, str):
        if problem := text_problem(value):
            yield f"option {place} {problem}"
    elif isinstance(value, NUMBER):
        if not -(2**63) <= value < 2**63:  # also for NaN
            yield f"option {place} must be a finite number of 64 bits, not {shown(value)}"
    elif value is not None and not isinstance(value, (bytes, datetime, Decimal)):
        yield f"option {place} is a {type(value).__name__}, which AMQP does not have; put it in quotes"
