"""Generates load, and sees what a client sees of it."""

import contextlib, re, select, socket, subprocess, tempfile, time

from figures import Failed
from request import EVENT, HEADERS, PATH, head, message
from servers import LOAD

# Bytes of a POST's body.
POSTED = 2048


def wrk(port, seconds, method="GET", connections=64, path=PATH, headers=HEADERS):
    command = ["taskset", "-c", str(LOAD), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        if method == "POST":
            script.write(f'wrk.method="POST"\nwrk.body=string.rep("x",{POSTED})\nwrk.headers["Content-Type"]="application/json"\n')
            script.flush()
            command += ["-s", script.name]
        out = subprocess.run([*command, f"http://127.0.0.1:{port}{path}"], capture_output=True, text=True, check=True).stdout
    if "Non-2xx" in out or "Socket errors" in out:
        raise Failed(f"the load met errors:\n{out}")
    micro = lambda text: float(re.match(r"[\d.]+", text)[0]) * {"us": 1, "ms": 1e3, "s": 1e6}[re.sub(r"[\d.]", "", text)]
    return {
        "requests": int(re.search(r"(\d+) requests in", out)[1]),
        "per_second": float(re.search(r"Requests/sec:\s+([\d.]+)", out)[1]),
        "p50_us": micro(re.search(r"^\s+50%\s+(\S+)", out, re.M)[1]),
        "p99_us": micro(re.search(r"^\s+99%\s+(\S+)", out, re.M)[1]),
    }


def connect(port, request):
    connection = socket.create_connection(("127.0.0.1", port), 10)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.sendall(request)
    return connection


def expect_ok(answer):
    if not (answer or b"").startswith(b"HTTP/1.1 200 "):
        raise Failed(f"a request was refused: {(answer or b'')[:200]}")


def until_event(connection):
    answer = b""
    while EVENT not in answer:
        # In small pieces, so that hardly more is taken of a flood.
        answer += connection.recv(1024) or b"the connection was closed" + EVENT
    return answer


@contextlib.contextmanager
def held(port, count, path):
    """So many connections, each after a whole answer or, where that is a stream, after its first event."""
    connections = []
    try:
        for _ in range(count):
            connections.append(connect(port, head("GET", path, HEADERS)))
            expect_ok((message if path == PATH else until_event)(connections[-1]))
        yield
    finally:
        for connection in connections:
            connection.close()


def post_at(port, seconds, rate):
    """POSTs on one connection at that rate, each when the one before has been answered; how many there were."""
    post = head("POST", PATH, HEADERS, POSTED) + b"x" * POSTED
    begin = time.monotonic()
    with connect(port, post) as connection:
        expect_ok(message(connection))
        for number in range(1, seconds * rate):
            time.sleep(max(0, begin + number / rate - time.monotonic()))
            connection.sendall(post)
            expect_ok(message(connection))
    if (took := time.monotonic() - begin) > seconds * 1.05:
        raise Failed(f"there were {seconds * rate / took:.0f} requests a second, not {rate}")
    return seconds * rate


class Events:
    """Open streams, whose events are read as they come."""

    def __init__(self, port, count):
        self.connections = {}
        self.poll = select.epoll()
        for _ in range(count):
            connection = connect(port, head("GET", "/events", HEADERS))
            expect_ok(connection.recv(65536))
            self.connections[connection.fileno()] = connection
            self.poll.register(connection.fileno(), select.EPOLLIN)

    def read(self, seconds):
        """How many came."""
        seen, end = 0, time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            for number, _ in self.poll.poll(left):
                data = self.connections[number].recv(65536)
                if not data:
                    raise Failed("a stream broke off")
                seen += data.count(b"data: ")
        return seen

    def close(self):
        self.poll.close()
        for connection in self.connections.values():
            connection.close()
