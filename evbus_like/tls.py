"""TLS contexts that fail closed: a setting that cannot be applied is an error, and host names are verified."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from typing import Any

from evbus_like.engine.errors import ProfileError
from evbus_like.engine.options import problems

OPTIONS = {
    "ca_file": (str, "the certificates of the authorities to trust, a PEM file (default: the system's)"),
    "ca_path": (str, "a folder of such certificates"),
    "ca_data": (str, "such certificates as PEM text"),
    "cert_file": ((str, type(None)), "the client's certificate, a PEM file"),
    "key_file": ((str, type(None)), "the client's private key, a PEM file (default: cert_file)"),
    "password": ((str, type(None)), "the password of the private key"),
    "check_hostname": (bool, "false: accept a certificate of another host name; insecure (default: true)"),
    "verify": (bool, "false: accept any certificate; insecure, for trying things out (default: true)"),
}


def context(block: Mapping[str, Any]) -> ssl.SSLContext:
    """Return the TLS context for the `ssl` option of a profile; raises ProfileError."""
    wrong = list(problems(block, OPTIONS, "ssl."))
    if wrong:
        raise ProfileError("; ".join(wrong))
    if block.get("ca_path") is not None and not os.path.isdir(block["ca_path"]):  # OpenSSL ignores it
        raise ProfileError(f"ssl.ca_path is no folder: {block['ca_path']}")
    try:
        made = ssl.create_default_context(
            cafile=block.get("ca_file"), capath=block.get("ca_path"), cadata=block.get("ca_data")
        )
        if block.get("cert_file"):
            made.load_cert_chain(block["cert_file"], block.get("key_file"), block.get("password") or "")
        elif block.get("key_file"):
            raise ProfileError("ssl.key_file is given without ssl.cert_file")
    except (OSError, ValueError, TypeError) as error:  # the last is for ca_data that is not ASCII
        files = ", ".join(f"{name} {block[name]}" for name in ("ca_file", "cert_file", "key_file") if block.get(name))
        given = files or ("ca_data" if block.get("ca_data") else "system certificates")
        raise ProfileError(f"TLS cannot be set up ({given}): {error}") from None
    if block.get("check_hostname") is False or block.get("verify") is False:
        made.check_hostname = False
    if block.get("verify") is False:
        made.verify_mode = ssl.CERT_NONE
    return made
