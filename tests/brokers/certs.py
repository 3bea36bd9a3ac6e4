"""Certificates for the TLS tests, made by trustme: good ones, and bad ones that a client has to refuse."""

import datetime
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)


@dataclass(frozen=True)
class Certs:
    """Paths of PEM files; every `*_pem` file holds a key followed by its certificate."""

    ca: Path
    server_pem: Path  # for localhost and 127.0.0.1
    server_key: Path
    server_cert: Path
    client_pem: Path
    client_key: Path
    client_cert: Path
    wrong_ca: Path  # a CA that signed none of the others
    wrong_host_pem: Path  # signed by `ca`, for another host's name
    wrong_host_key: Path
    wrong_host_cert: Path
    expired_pem: Path  # signed by `ca`, for localhost and 127.0.0.1, expired yesterday
    expired_key: Path
    expired_cert: Path


def make_certs(folder: Path) -> Certs:
    """Write a new set of certificates into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    authority = trustme.CA()
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    leaves = {
        "server": authority.issue_cert("localhost", "127.0.0.1"),
        "client": authority.issue_cert("client@evbus.test", common_name="evbus-client"),
        "wrong_host": authority.issue_cert("elsewhere.test"),
        "expired": authority.issue_cert("localhost", "127.0.0.1", not_after=yesterday),
    }
    contents = {"ca": authority.cert_pem.bytes(), "wrong_ca": trustme.CA().cert_pem.bytes()}
    for name, leaf in leaves.items():
        key, cert = _pkcs8(leaf.private_key_pem.bytes()), leaf.cert_chain_pems[0].bytes()
        contents |= {f"{name}_key": key, f"{name}_cert": cert, f"{name}_pem": key + cert}
    paths = {name: folder / f"{name}.pem" for name in contents}
    for name, path in paths.items():
        path.write_bytes(contents[name])
    return Certs(**paths)


def _pkcs8(key: bytes) -> bytes:
    # trustme writes the older form of a key, which Kafka does not read; cryptography is what trustme itself uses.
    return load_pem_private_key(key, None).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
