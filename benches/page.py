"""docs/performance.md, written from a record. Every number of the page comes from it, or from what the measurements are set to."""

import statistics, textwrap

from chart import number, svg
from figures import ratio, spread
from rounds import EVENTS, POSTS, ROWS, STREAMS

NAMES = {
    "vestibule": "vestibule",
    "nginx": "nginx",
    "haproxy": "HAProxy",
    "nginx-asks-nginx": "nginx asks nginx",
    "nginx-asks-vestibule": "nginx asks vestibule",
}
UNITS = {"µs": "µs of CPU", "KiB": "KiB of memory", "MiB": "MiB of memory", "ms": "ms"}
COLUMNS = 125


def rounds_of(record, row):
    """A dict of figures each, by server."""
    return [{name: found.get("figure") for name, found in each["figures"][row].items()} for each in record["rounds"]]


def cell(record, row, server):
    """Its spread, or what stands in its place; and why it was not measured."""
    found = [each["figures"][row].get(server) for each in record["rounds"]]
    if not any(found):
        return "–", None
    why = next((each["why"] for each in found if each and "why" in each), None)
    return spread([each.get("figure") if each else None for each in found]) or "not measured", why


def value(record, row, server):
    found, _ = cell(record, row, server)
    return None if isinstance(found, str) else found[0]


def said(record, row, server):
    """A figure within prose."""
    found = value(record, row, server)
    return f"{number(found)} {ROWS[row].unit}" if found is not None else "(not measured)"


def table(record):
    lines = ["| | " + " | ".join(NAMES.values()) + " | vestibule ÷ nginx |", "| --- |" + " ---: |" * (len(NAMES) + 1)]
    for key, row in ROWS.items():
        cells = [cell(record, key, server)[0] for server in NAMES]
        shown = [each if isinstance(each, str) else f"**{number(each[0])}** ({number(each[1])}–{number(each[2])})" for each in cells]
        to_nginx = ratio(rounds_of(record, key), "vestibule", "nginx")
        lines.append(f"| {row.title}, {row.unit} | " + " | ".join(shown) + f" | {'–' if to_nginx is None else f'{to_nginx:.2f}'} |")
    return "\n".join(lines)


def missing(record):
    """Why figures are missing, in lines."""
    lines = []
    for key, row in ROWS.items():
        for server, name in NAMES.items():
            _, why = cell(record, key, server)
            if why:
                rounds = rounds_of(record, key)
                count = sum(each.get(server) is not None for each in rounds)
                lines.append(f"- {row.title}, {name}: " + (f"measured in {count} of {len(rounds)} rounds: {why}" if count else f"not measured: {why}"))
    return "\n".join(lines)


def chart(record, theme):
    panels = []
    for key, row in ROWS.items():
        bars = [(name, cell(record, key, server)[0]) for server, name in NAMES.items()]
        # One that can't be asked has no bar.
        panels.append((row.title, UNITS[row.unit], [bar for bar in bars if bar[1] != "–"]))
    return svg(panels, theme, "CPU, memory and start of vestibule, nginx and HAProxy; the table has the same figures")


def range_of(values, show):
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def verdict(record):
    """What the figures say. A sentence that holds for some figures only is left out for others."""
    figure = lambda row, server: said(record, row, server)
    to = lambda row, server: ratio(rounds_of(record, row), "vestibule", server)
    yield (
        f"With its access log on, as it is by default, vestibule takes {figure('get-log', 'vestibule')} of CPU for a GET and {figure('post-log', 'vestibule')} for a POST of 2 KB. "
        f"nginx takes {figure('get-log', 'nginx')} and {figure('post-log', 'nginx')} where it has a fixed table of users, HAProxy {figure('get-log', 'haproxy')} and {figure('post-log', 'haproxy')}. "
        f"nginx that asks another server about each request (`auth_request`) takes {figure('get-log', 'nginx-asks-nginx')} for a GET if that server is an nginx with such a table, "
        f"and {figure('get-log', 'nginx-asks-vestibule')} if it is vestibule; the CPU of both servers counts."
    )
    if (get := value(record, "get-log", "vestibule")) is not None:
        yield (
            f"At that price, 100 requests a second take {number(get / 100)} % of one CPU. A server that has little to do pays more for each request, because each wakes it up: "
            f"{figure('paced', 'vestibule')} at {POSTS:,} requests a second on one connection (nginx: {figure('paced', 'nginx')}, HAProxy: {figure('paced', 'haproxy')})."
        )
    if (dearer := to("get-log", "nginx")) and dearer > 1.05:
        yield "Where vestibule takes more CPU than nginx with a table, these are the reasons:"
        yield (
            "- It reads every head twice. A guard looks at the bytes and refuses what two servers could understand differently; then hyper parses them into a map, which allocates memory for each request. "
            "LiteLLM's answers are read the same way. nginx and HAProxy parse once, in place.\n"
            "- It decides more. nginx looks up a string in a table that was fixed at its start. vestibule finds the user by several headers, strips every header that could be a key or an identity, "
            "goes by the rules for roles, and checks that the account is not blocked and its key is still valid."
        )
    if (cheaper := to("get-log", "nginx-asks-nginx")) and cheaper < 0.95:
        yield "It takes less CPU than nginx with `auth_request` because it decides in its own process, where `auth_request` sends a second request for each."
    connection, stream = value(record, "connection", "vestibule"), value(record, "stream", "vestibule")
    if connection is not None and stream is not None:
        yield (
            f"An idle connection takes {figure('connection', 'vestibule')} of memory (nginx: {figure('connection', 'nginx')}, HAProxy: {figure('connection', 'haproxy')}), "
            f"a live stream {figure('stream', 'vestibule')} (nginx: {figure('stream', 'nginx')}, HAProxy: {figure('stream', 'haproxy')}). "
            + ("vestibule keeps a connection's buffers while it is idle; nginx and HAProxy release theirs. " if connection > 2 * (value(record, "connection", "nginx") or connection) else "")
            + f"A thousand live streams are {number(stream * 1000 / 1024)} MiB; ten thousand idle connections, as many as it accepts by default, are {number(connection * 10_000 / 1024)} MiB."
        )
    yield (
        "**What this means for you.** A model's answer takes seconds, and these are microseconds: the CPU of any column is small beside it. Plan for memory if you keep thousands of streams open. If a fixed table of users and keys is all that you need, "
        "nginx or HAProxy can do it alone, without a database. vestibule's price buys what the table lacks: accounts that are made at the first request, roles that follow the groups, "
        "keys that end when an operator says so, and refusals for requests that are unclear."
    )


def heaviness(record):
    """How much of the time the least busy server worked, by row that loads it fully."""
    for key, row in ROWS.items():
        by_server = {}
        for each in record["rounds"]:
            for name, found in each["figures"][key].items():
                if "busy" in found:
                    by_server.setdefault(name, []).append(found["busy"])
        if by_server:
            yield f"{min(statistics.median(shares) for shares in by_server.values()) * 100:.0f} % ({row.title})"


def wrapped(text):
    """Paragraphs and items of lists in lines as the other pages have them."""
    lines = []
    for line in text.split("\n"):
        is_prose = line and not line.startswith(("|", "<", "#", "`", " "))
        lines += textwrap.wrap(line, COLUMNS, subsequent_indent="  " if line.startswith("- ") else "", break_long_words=False, break_on_hyphens=False) if is_prose else [line]
    return "\n".join(lines)


def page(record):
    machine, rounds = record["machine"], record["rounds"]
    fastest = max((found["per_second"] for each in rounds for found in each["figures"]["get"].values() if "per_second" in found), default=0)
    foreign = [share * 100 for each in rounds for share in each["foreign"]]
    why = missing(record)
    return wrapped(f"""<!-- Written by `benches/run --publish`. Change benches/page.py, then run `benches/run --publish-from benches/published.json`. -->

# Performance

What vestibule costs beside nginx and HAProxy, measured in one run on one machine ({record["date"]}). Compare columns with each other, not with figures of another machine.

<picture>
  <source media="(prefers-color-scheme: dark)" srcset="performance-dark.svg">
  <img src="performance-light.svg" alt="Bar charts of the figures in the table below">
</picture>

Bars are medians of {len(rounds)} rounds; the thin lines reach from the least to the greatest. Shorter is better. Each panel has its own scale.

## What it costs

{(chr(10) * 2).join(verdict(record))}

## Figures

Medians of {len(rounds)} rounds, with the least and the greatest in brackets. µs are CPU time of the server for each request, event or answer: user and system time of all its processes. The last column is the median of the ratios within each round.

{table(record)}
{chr(10) + why + chr(10) if why else ""}
- **nginx** uses `proxy_pass` and a `map` of users and their keys, **HAProxy** a map file. **nginx asks nginx** uses `auth_request`, and another nginx answers from such a table; **nginx asks vestibule** has vestibule answer ([gateways that ask](forward-auth.md)). The figures of these two are sums of both servers.
- All do the same job, which is checked in each round: they know the user by the OAuth proxy's header, answer others with 401, remove the identity headers and the sign-in cookie, and replace `Authorization` with the user's key. nginx and HAProxy remove the whole `Cookie` header, vestibule only that cookie. Buffers have the sizes that each program chooses by default.
- With the access log on, each server writes a line of JSON to a file for each request, with comparable fields. nginx writes through a buffer (64 KiB, 1 s), and vestibule in batches; HAProxy makes a system call for each line. Where nginx asks, both servers write lines.
- A stream's events go to {STREAMS} streams in turn, {EVENTS:,} a second in all. Each is one token, about 200 bytes.
- "Yes to a gateway" is measured at the server that is asked, with the question that nginx sends.
- Memory is PSS, without the kernel's memory for sockets: {record["connections"]:,} connections with one answered request each, or {record["connections"]:,} streams after their first event.
- Start is the time until the first request is answered. vestibule's tables and the user's account exist by then.

## How it was measured

```text
{record["command"]}
```

- vestibule is the program as it is shipped, built with cargo's profile `dist`{"; `--binary` brought one" if "--binary" in record["command"] else ""}.
- **Machine:** {machine["cpu"]}, {machine["cores"]} CPUs{" (virtual)" if machine["virtual"] else ""}, {machine["memory_gib"]} GiB; {machine["system"]}, Linux {machine["kernel"]}.
- **Other load:** load average {machine["load"]:.2f} at the start. Sampled before each figure, other programs used {statistics.mean(foreign):.0f} % of the CPUs, at most {max(foreign):.0f} %; the host took {machine["stolen"] * 100:.1f} % for itself.
- **Versions:** {", ".join(f"{name} {version}" for name, version in record["versions"].items())}.
- Each server has one worker, on CPU 0; where there are two servers, they share it. Load, LiteLLM's stand-in and PostgreSQL run on CPU 1. All speak HTTP/1.1 over loopback.
- The request has 14 headers of about 900 bytes, as oauth2-proxy sends them; an nginx answers with 1 KB of JSON. wrk makes the load, on 64 connections for {record["seconds"]} s a figure; a Python program reads the streams and sends the paced requests. The load is the same for all servers.
- Each round starts all servers anew and measures each once; the order is reversed from one round to the next.
- wrk and the stand-in alone make {range_of([each["direct_per_second"] for each in rounds], lambda each: f"{each:,.0f}")} requests a second; the fastest server let {fastest:,.0f} through. Whether wrk kept the servers busy: the least busy one used its CPU for {", ".join(heaviness(record))} of the time.

## What was not measured

- TLS, HTTP/2, several workers, a network between machines, large bodies, websockets.
- A user's first request, which writes to the database; `identity.source: check`, where vestibule asks the sign-in proxy.
- A real LiteLLM. Its stand-in answers at once.
- Latency. At full load it tells the length of the queue, on an idle machine how fast a CPU wakes up.
- Envoy, Caddy, Traefik, and oauth2-proxy itself.
""")
