"""What others notice of a thousand clients that send their heads a byte at a time, and how late the events of streams come."""

import asyncio, statistics, sys, time

from load import wrk
from request import HEADERS, head
from servers import SERVERS, end, free_port, ready, vestibule, wait_for
from upstreams import STREAM, model


async def slow_head(port, wait, lives):
    await asyncio.sleep(wait)
    while True:
        begin = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: ")
        closed = asyncio.ensure_future(reader.read())
        try:
            while not closed.done():
                writer.write(b"x")
                await asyncio.wait({closed}, timeout=5)
            lives.append(time.monotonic() - begin)
            await asyncio.gather(closed, return_exceptions=True)
        finally:
            closed.cancel()
            writer.transport.abort()


async def beside_slow_heads(port, count, seconds):
    """Latency of others alone, then beside so many slow heads; how long these lived."""
    loop, lives = asyncio.get_running_loop(), []
    load = lambda: loop.run_in_executor(None, lambda: wrk(port, seconds, connections=4))
    alone = await load()
    # Spread over a second; each is replaced when it is closed.
    crowd = [asyncio.create_task(slow_head(port, number / count, lives)) for number in range(count)]
    await asyncio.sleep(2)
    beside = await load()
    # One that is never closed would show here, by its absence.
    await asyncio.sleep(max(0, 12 - seconds))
    for task in crowd:
        task.cancel()
    failed = [error for error in await asyncio.gather(*crowd, return_exceptions=True) if not isinstance(error, asyncio.CancelledError)]
    if failed:
        sys.exit(f"a slow head failed: {failed[0]!r}")
    return alone, beside, lives


async def event_server(reader, writer):
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM)
        while True:
            event = f"data: {time.monotonic_ns()}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(event), event))
            await writer.drain()
            await asyncio.sleep(0.04)
    except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
        pass
    finally:
        writer.close()


async def delays_of(port, until):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head("GET", "/events", HEADERS))
    delays = []
    while time.monotonic() < until:
        line = await asyncio.wait_for(reader.readuntil(b"\n"), 10)
        if line.startswith(b"data: "):
            delays.append((time.monotonic_ns() - int(line[6:])) / 1e3)
    writer.transport.abort()
    return delays[1:]


async def event_delays(port, direct, serve_on, seconds, is_loaded):
    """Of ten streams through vestibule and ten that go past it at the same time, in µs."""
    server = await asyncio.start_server(event_server, "127.0.0.1", serve_on)
    load = asyncio.get_running_loop().run_in_executor(None, lambda: wrk(port, seconds + 1)) if is_loaded else asyncio.sleep(0)
    load = asyncio.ensure_future(load)
    until = time.monotonic() + seconds
    found = await asyncio.gather(*(delays_of(each, until) for each in [port] * 10 + [direct] * 10))
    await load
    server.close()
    return sum(found[:10], []), sum(found[10:], [])


def crowd(work, binary, postgres, seconds):
    serve_on, direct = free_port(), free_port()
    upstream = model(work, "crowd-model", direct, serve_on)
    ports, process, _ = vestibule(work, binary, direct, postgres, "crowd", cpu=SERVERS)
    wait_for(direct), ready(ports["admin"])
    alone, beside, lives = asyncio.run(beside_slow_heads(ports["proxy"], 1000, seconds))
    if len(lives) < 1000:
        sys.exit(f"only {len(lives)} of 1000 slow heads were closed")
    figures = {"slow_heads": {"alone": alone, "beside": beside, "lives": [min(lives), max(lives)]}}
    for is_loaded in (False, True):
        through, past = asyncio.run(event_delays(ports["proxy"], direct, serve_on, seconds, is_loaded))
        cuts = {name: statistics.quantiles(delays, n=100) for name, delays in (("through", through), ("past", past))}
        figures["events_loaded" if is_loaded else "events"] = cuts | {"count": len(through)}
    end(process), end(upstream)
    return figures
