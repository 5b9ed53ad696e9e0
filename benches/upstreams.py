"""Stand-ins for LiteLLM, where nginx's fixed answer is not enough: streams, and a way to start each."""

import asyncio, contextlib, multiprocessing, os, socket, threading, time

from request import BODY, EVENT, message
from servers import LOAD, nginx, wait_for

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
FRAME = b"%x\r\n%s\r\n" % (len(EVENT), EVENT)
ANSWER = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
# What came in, for a look at whether a server has done its job.
ECHO = "/v1/models"
ECHOED = ("authorization", "x_litellm_api_key", "cookie", "x_forwarded_user", "x_forwarded_email", "x_forwarded_groups", "x_forwarded_preferred_username")


def model(work, name, port, events=None):
    """nginx, which always gives the same answer; streams come from the port `events`."""
    streams = f"location /events {{ proxy_pass http://127.0.0.1:{events}; proxy_http_version 1.1; proxy_buffering off; }}" if events else ""
    echo = f"location {ECHO} {{ return 200 '{chr(10).join(f'$http_{name}' for name in ECHOED)}'; }}"
    return nginx(work, name, [f"listen 127.0.0.1:{port} backlog=4096; default_type application/json; {streams} {echo} location / {{ return 200 '{BODY}'; }}"])


def in_background(port, serve, *arguments):
    """Runs `serve(port, …)` in a process of its own until it is terminated."""
    def begin():
        os.sched_setaffinity(0, {LOAD})
        with contextlib.suppress(KeyboardInterrupt):
            serve(port, *arguments)

    process = multiprocessing.get_context("fork").Process(target=begin, daemon=True)
    process.start()
    wait_for(port)
    return process


def listen(port):
    return socket.create_server(("127.0.0.1", port), backlog=4096)


def send_events(port, rate):
    """So many events a second in all, to each open stream in its turn."""
    streams, listener = [], listen(port)

    def begin(stream):
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            if message(stream):
                stream.sendall(STREAM)
                streams.append(stream)

    def accept():
        while True:
            threading.Thread(target=begin, args=listener.accept()[:1], daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    turn, due = 0, time.monotonic()
    while True:
        due = max(due + 1 / rate, time.monotonic() - 0.1)
        time.sleep(max(0, due - time.monotonic()))
        if streams:
            turn = (turn + 1) % len(streams)
            try:
                streams[turn].sendall(FRAME)
            except OSError:
                streams.pop(turn).close()


def hold(port):
    """A plain answer; on /events a stream whose first event is its last, on /flood one that goes on as fast as it is read."""
    async def serve(reader, writer):
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith((b"GET /events ", b"GET /flood ")):
                    writer.write(STREAM + FRAME)
                    while head.startswith(b"GET /flood "):
                        writer.write(b"4000\r\n" + b"x" * 0x4000 + b"\r\n")
                        await writer.drain()
                    return await reader.read()
                writer.write(ANSWER)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def run():
        async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=4096) as server:
            await server.serve_forever()

    asyncio.run(run())
