"""tls.py: what is asked for is set up, or it is an error."""

import ssl

import pytest
import trustme

from evbus_like import tls
from evbus_like.engine.errors import ProfileError


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certs")
    authority = trustme.CA()
    made = authority.issue_cert("localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    made.private_key_pem.write_to_path(folder / "key.pem")
    made.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    (folder / "junk.pem").write_text("this is no certificate")
    return {path.stem: str(path) for path in folder.iterdir()}


def test_certificates_and_host_names_are_verified_unless_the_profile_says_otherwise_by_name():
    assert (tls.context({}).verify_mode, tls.context({}).check_hostname) == (ssl.CERT_REQUIRED, True)

    loose = tls.context({"check_hostname": False})
    assert (loose.verify_mode, loose.check_hostname) == (ssl.CERT_REQUIRED, False)
    anything = tls.context({"verify": False})
    assert (anything.verify_mode, anything.check_hostname) == (ssl.CERT_NONE, False)


def test_only_the_given_authority_is_trusted(files):
    context = tls.context({"ca_file": files["ca"]})

    assert len(context.get_ca_certs()) == 1
    assert "trustme" in str(context.get_ca_certs()[0]["subject"])


def test_a_client_s_certificate_is_loaded(files):
    tls.context({"cert_file": files["cert"], "key_file": files["key"]})


@pytest.mark.parametrize(
    "block",
    [
        {"ca_file": "/nowhere/ca.pem"},
        {"ca_file": "junk"},
        {"ca_data": "junk"},
        {"ca_data": "é"},
        {"cert_file": "/nowhere/cert.pem"},
        {"cert_file": "cert", "key_file": "/nowhere/key.pem"},
        {"cert_file": "cert", "key_file": "junk"},
        {"cert_file": "cert", "key_file": "ca"},
        {"key_file": "key"},
        {"ca_file": None},
        {"verify": None},
        {"verify": "no"},
        {"check_hostname": 0},
        {"cafile": "ca"},
    ],
    ids=str,
)
def test_tls_that_cannot_be_set_up_is_an_error(block, files):
    block = {name: files.get(value, value) if isinstance(value, str) else value for name, value in block.items()}

    with pytest.raises(ProfileError):
        tls.context(block)


def test_the_error_names_the_file_and_not_the_password(files):
    with pytest.raises(ProfileError, match=r"cert_file /nowhere/cert.pem") as caught:
        tls.context({"cert_file": "/nowhere/cert.pem", "password": "hunter2"})

    assert "hunter2" not in str(caught.value)


def test_a_misspelt_option_is_named_with_the_right_one():
    with pytest.raises(ProfileError, match=r"no option ssl.ca_fil; did you mean 'ca_file'\?"):
        tls.context({"ca_fil": "x"})
