"""What `benches/run` prints of the figures that it measured."""

import statistics

from figures import median, quartiles


def seen(rows):
    return f"p50 {median(rows, 'p50_us') / 1e3:.2f} ms  p99 {median(rows, 'p99_us') / 1e3:.2f} ms"


def requests(found):
    for method in ("GET", "POST"):
        rounds = found[method]
        ratios = [row["ratio"] for row in rounds]
        low, _, high = quartiles(ratios)
        yield f"{method}: CPU per request, vestibule ÷ nginx: {statistics.median(ratios):.2f} ({low:.2f}–{high:.2f}, {len(ratios)} rounds)"
        for name in ("vestibule", "nginx"):
            rows = [row[name] for row in rounds]
            yield f"  {name:10} {median(rows, 'cpu_us'):6.1f} µs  {median(rows, 'per_second'):8.0f} requests/s  {seen(rows)}"
    yield f"memory after load, 64 connections: vestibule {found['loaded_mib']['vestibule']:.1f} MiB, nginx {found['loaded_mib']['nginx']:.1f} MiB"


def starts(found):
    times = found["start_ms"]
    yield f"start to listening: {statistics.median(times):.0f} ms (worst of {len(times)}: {max(times):.0f} ms)"


def streams(found):
    yield f"memory: idle {found['idle_mib']:.1f} MiB; {found['streams']} live streams {found['streams_mib']:.1f} MiB, {found['stream_kib']:.1f} KiB each"


def stalled(found):
    yield f"memory: {found['stalled']} streams whose readers take nothing: {found['stalled_kib']:.1f} KiB each"


def crowd(found):
    alone, beside, (least, most) = (found["slow_heads"][name] for name in ("alone", "beside", "lives"))
    yield (
        f"1000 heads that come a byte in 5 s: each closed after {least:.1f}–{most:.1f} s; others, 4 connections: "
        f"p50 {alone['p50_us']:.0f} → {beside['p50_us']:.0f} µs, p99 {alone['p99_us']:.0f} → {beside['p99_us']:.0f} µs"
    )
    for key, what in (("events", "nothing else runs"), ("events_loaded", "64 connections load beside it")):
        cuts = found[key]
        text = ", ".join(f"{label} {cuts['through'][at]:.0f} µs, past vestibule {cuts['past'][at]:.0f} µs" for label, at in (("p50", 49), ("p99", 98)))
        yield f"delay of an event of a stream, {what}: {text} ({cuts['count']} events)"


def questions(found):
    yield "a yes to a gateway:"
    beside = found["questions"]["nginx"]
    for name, rows in found["questions"].items():
        ratio = statistics.median(row["cpu_us"] / other["cpu_us"] for row, other in zip(rows, beside))
        yield f"  {name:22} {median(rows, 'cpu_us'):6.1f} µs CPU ({ratio:.2f} x nginx)  {median(rows, 'per_second'):8.0f} questions/s  {seen(rows)}"


def checks(found):
    yield "checks of bytes and heads, a request:"
    yield from (f"  {line}" for line in found["checks"])
