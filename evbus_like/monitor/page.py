"""The status page: one HTML file with its style and its script, and the policy that lets a browser run these alone."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

PLACE = Path(__file__).with_name("page.html")
INLINE = re.compile(r"<(style|script)>(.*?)</\1>", re.DOTALL)


def page(needs_token: bool) -> tuple[str, dict[str, str]]:
    """Return the page and its headers; it has no number of the bus, and reads them from `/events` with the token."""
    html = PLACE.read_text(encoding="utf-8")
    if needs_token:
        html = html.replace('data-token="open"', 'data-token="needed"', 1)
    return html, {
        "Content-Security-Policy": policy(html),
        "Referrer-Policy": "no-referrer",
    }


def policy(html: str) -> str:
    """Return a policy that allows what the page has in it and its own port, and nothing else."""
    hashes = {kind: base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for kind, text in _inline(html)}
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'sha256-{hashes['script']}'",
            f"style-src 'sha256-{hashes['style']}'",
            "connect-src 'self'",
            "img-src data:",  # the icon, which is empty
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        )
    )


def _inline(html: str) -> list[tuple[str, str]]:
    return INLINE.findall(html)
