"""The proxy does what the fault tests rely on."""

import contextlib
import socket
import threading

import pytest

from tests.faults.proxy import DOWN, UP, Proxy


@pytest.fixture
def echo():
    """An echo server; gives its port."""
    listener = socket.create_server(("127.0.0.1", 0))
    served = []

    def answer(sock):
        with sock:
            try:
                while data := sock.recv(65536):
                    sock.sendall(data)
            except OSError:
                pass

    def serve():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            served.append(threading.Thread(target=answer, args=(sock,), daemon=True))
            served[-1].start()

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for thread in (serving, *served):
        thread.join(10.0)


@pytest.fixture
def proxy(echo):
    with Proxy(echo) as proxy:
        yield proxy


@pytest.fixture
def client(proxy):
    with connected(proxy) as client:
        yield client


def connected(proxy):
    with contextlib.ExitStack() as closing:
        client = closing.enter_context(socket.create_connection(("127.0.0.1", proxy.port), timeout=10.0))
        client.sendall(b"hello")
        if client.recv(5, socket.MSG_WAITALL) != b"hello":
            raise ConnectionResetError
        closing.pop_all()
    return client


def received(client, left):
    while left:
        data = client.recv(left)
        left -= len(data)
        yield data


def silent(client):
    client.settimeout(0.2)
    try:
        return not client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(10.0)


def test_bytes_pass_the_proxy_unchanged(proxy, client):
    sent = bytes(range(256)) * 1000
    sending = threading.Thread(target=client.sendall, args=(sent,))
    sending.start()
    assert b"".join(received(client, len(sent))) == sent
    sending.join()
    assert (proxy.attempts, proxy.open) == (1, 1)


def test_reset_breaks_the_connection_and_the_next_one_works(proxy, client):
    proxy.reset()
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    connected(proxy).close()


def test_a_refusing_proxy_accepts_no_connection_until_it_is_healed(proxy, client):
    proxy.refuse()
    with pytest.raises(ConnectionRefusedError):
        connected(proxy)
    proxy.heal()
    connected(proxy).close()


def test_a_proxy_that_hangs_up_counts_the_attempts(proxy, client):
    proxy.hang_up()
    for _ in range(3):
        with pytest.raises(ConnectionResetError):
            connected(proxy)
    assert proxy.attempts == 4


def test_a_black_hole_swallows_bytes_and_heal_resets_the_connections_that_lost_some(proxy, client):
    proxy.black_hole()
    client.sendall(b"gone")
    assert silent(client)
    proxy.heal()
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_frozen_bytes_arrive_after_heal(proxy, client):
    proxy.freeze()
    client.sendall(b"later")
    assert silent(client)
    proxy.heal()
    assert client.recv(5, socket.MSG_WAITALL) == b"later"


@pytest.mark.parametrize(("direction", "at_the_broker"), [(UP, 5), (DOWN, 10)])
def test_a_half_open_connection_carries_bytes_in_one_direction(proxy, client, direction, at_the_broker):
    proxy.freeze(direction)
    client.sendall(b"later")
    assert silent(client)
    assert proxy.bytes_passed[UP] == at_the_broker


def test_delayed_bytes_arrive_at_once_after_heal(proxy, client):
    proxy.delay(60.0, DOWN)
    client.sendall(b"later")
    assert silent(client)
    proxy.heal()
    assert client.recv(5, socket.MSG_WAITALL) == b"later"


def test_a_cut_passes_exactly_the_given_number_of_bytes(proxy, client):
    proxy.cut_after(7, DOWN, hang_up=True)
    client.sendall(b"0123456789")
    assert client.recv(7, socket.MSG_WAITALL) == b"0123456"
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert proxy.was_cut.is_set()
    with pytest.raises(ConnectionResetError):
        connected(proxy)
    proxy.heal()
    connected(proxy).close()


def test_without_a_broker_the_client_is_reset():
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Proxy(port) as proxy, pytest.raises(ConnectionResetError):
        connected(proxy)


def test_a_closed_proxy_leaves_no_thread_and_no_connection(echo):
    before = threading.active_count()
    with Proxy(echo) as proxy:
        client = connected(proxy)
    with client, pytest.raises(ConnectionResetError):
        client.recv(1)
    assert threading.active_count() <= before + 1  # the echo server's own
