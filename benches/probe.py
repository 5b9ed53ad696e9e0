"""Asks a server whether it is up and does its job."""

import time

from load import connect
from request import ASKING, HEADERS, IDENTITY, PATH, QUESTION, head, message
from upstreams import ECHO, ECHOED


def answer(port, method, path, headers):
    with connect(port, head(method, path, headers)) as connection:
        return message(connection) or b""


def first_answer(contender, seconds=20):
    """Seconds from its start until a request was answered."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            if answer(contender.port, "GET", PATH, HEADERS).startswith(b"HTTP/1.1 200 "):
                return time.monotonic() - contender.started
        except OSError:
            pass
        time.sleep(0.001)
    raise TimeoutError("no request was answered")


def does_its_job(contender):
    """What a server leaves out would be no cheaper way to do it: what is wrong, or None."""
    came = answer(contender.port, "GET", ECHO, HEADERS)
    found = dict.fromkeys(ECHOED, "") | dict(zip(ECHOED, came.partition(b"\r\n\r\n")[2].decode().split("\n")))
    key = found.pop("x_litellm_api_key", "")
    if not key.startswith("sk-") or found.pop("authorization", "") != f"Bearer {key}":
        return "the user's key did not reach the upstream"
    # Cookies that are not the sign-in proxy's may pass.
    if "_oauth2_proxy" not in found["cookie"]:
        del found["cookie"]
    if left := [name for name, value in found.items() if value]:
        return f"these reached the upstream: {', '.join(left)}"
    stranger = {name: value for name, value in HEADERS.items() if name not in IDENTITY}
    if not answer(contender.port, "GET", PATH, stranger).startswith(b"HTTP/1.1 401 "):
        return "a stranger was let in"
    if contender.question and f"\r\nauthorization: Bearer {key}\r\n".lower().encode() not in answer(contender.question, "GET", QUESTION, ASKING).lower():
        return "a gateway was given no key"
    return None
