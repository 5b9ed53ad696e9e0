"""Measures every server once a round, and keeps what it found as a record."""

import contextlib, dataclasses, datetime, statistics, subprocess, sys, time
from collections.abc import Callable

import gauge
from contenders import CONTENDERS
from figures import Failed, alternating
from gauge import cpu, pss
from load import Events, held, post_at, wrk
from probe import does_its_job, first_answer
from programs import find
from request import ASKING, HEADERS, PATH, QUESTION
from servers import end, free_port, wait_for
from trials import under_load
from upstreams import hold, in_background, model, send_events

POSTS, STREAMS, EVENTS = 1000, 200, 4000


@dataclasses.dataclass(frozen=True)
class Row:
    title: str
    unit: str
    # Of a server that runs: (contender, seconds, events) → its figure. None where it is found out by starting one.
    measure: Callable | None = None
    is_logged: bool = False


def saturated(method="GET", headers=HEADERS):
    def measure(contender, seconds, _):
        seen = under_load(contender.port, contender.pids, seconds, method, headers=headers)
        return {"figure": seen["cpu_us"], "busy": seen["busy"], "per_second": seen["per_second"]}

    return measure


def paced(contender, seconds, _):
    before = cpu(*contender.pids)
    count = post_at(contender.port, seconds, POSTS)
    return {"figure": (cpu(*contender.pids) - before) / count * 1e6}


def event(contender, seconds, serve_on):
    upstream = in_background(serve_on, send_events, EVENTS)
    streams = Events(contender.port, STREAMS)
    try:
        streams.read(1)
        before = cpu(*contender.pids)
        count = streams.read(seconds)
        used = cpu(*contender.pids) - before
    finally:
        streams.close()
        upstream.terminate(), upstream.join()
    if count < EVENTS * seconds * 0.95:
        raise Failed(f"there were {count / seconds:.0f} events a second, not {EVENTS}")
    return {"figure": used / count * 1e6}


def question(contender, seconds, _):
    if not contender.question:
        return None
    seen = under_load(contender.question, contender.pids, seconds, path=QUESTION, headers=ASKING)
    return {"figure": seen["cpu_us"], "busy": seen["busy"], "per_second": seen["per_second"]}


ROWS = {
    "get": Row("GET, access log off", "µs", saturated()),
    "post": Row("POST of 2 KB, access log off", "µs", saturated("POST")),
    "get-log": Row("GET, access log on", "µs", saturated(), True),
    "post-log": Row("POST of 2 KB, access log on", "µs", saturated("POST"), True),
    "close": Row("GET, each on a new connection", "µs", saturated(headers=HEADERS | {"Connection": "close"})),
    "paced": Row("POST of 2 KB, one connection, 1,000 a second", "µs", paced),
    "event": Row("Event of a stream, 4,000 a second", "µs", event),
    "question": Row("Yes to a gateway that asks", "µs", question),
    "connection": Row("Idle connection", "KiB"),
    "stream": Row("Live stream", "KiB"),
    "idle": Row("Idle server", "MiB"),
    "start": Row("Start", "ms"),
}


# What keeps one figure from being measured, and no other.
FAULTS = Failed, OSError, subprocess.CalledProcessError


def why(error):
    return {"why": str(error).strip().split("\n", 1)[0] or type(error).__name__}


def lives(around, begin, count):
    """What is found out by starting a server: once for connections, and once for streams, which would take the memory that they left."""
    port = free_port()
    upstream = in_background(port, hold)
    found = {}
    try:
        for key, path in (("connection", PATH), ("stream", "/events")):
            contender = begin(around, port, False)
            try:
                found["start"] = {"figure": first_answer(contender) * 1e3}
                time.sleep(1)
                idle = pss(*contender.pids)
                found["idle"] = {"figure": idle}
                with held(contender.port, count, path):
                    time.sleep(1)
                    found[key] = {"figure": (pss(*contender.pids) - idle) * 1024 / count}
            except FAULTS as error:
                found = dict.fromkeys(("start", "idle", key), why(error)) | found
            finally:
                contender.end()
    finally:
        upstream.terminate(), upstream.join()
    return found


@contextlib.contextmanager
def running(around, begins, port, is_logged):
    """Each that could be started and does its job; and why others can't be measured."""
    started, found, wrong = [], {}, {}
    try:
        for name, begin in begins.items():
            try:
                contender = begin(around, port, is_logged)
                started.append(contender)
                first_answer(contender)
                fault = does_its_job(contender)
                wrk(contender.port, 1)
            except FAULTS as error:
                fault = str(error)
            if fault:
                wrong[name] = {"why": fault}
            else:
                found[name] = contender
        yield found, wrong
    finally:
        for contender in started:
            contender.end()


def one(around, number, seconds, count, patience):
    begins = {name: CONTENDERS[name] for name in alternating(CONTENDERS, number) if name != "haproxy" or find("haproxy")}
    absent = {name: {"why": "HAProxy is not installed"} for name in CONTENDERS if name not in begins}
    figures = {key: dict(absent) for key in ROWS}
    found = {"foreign": [], "figures": figures}
    port, serve_on = free_port(), free_port()
    upstream = model(around.work, around.name("model"), port, serve_on)
    wait_for(port)
    found["direct_per_second"] = wrk(port, seconds)["per_second"]
    for is_logged in (False, True):
        with running(around, begins, port, is_logged) as (contenders, wrong):
            for key, row in ROWS.items():
                if row.measure and row.is_logged == is_logged:
                    figures[key] |= wrong
                    for name, contender in contenders.items():
                        found["foreign"].append(gauge.foreign(patience))
                        try:
                            figure = row.measure(contender, seconds, serve_on)
                        except FAULTS as error:
                            figure = why(error)
                        if figure:
                            figures[key][name] = figure
    # Pages of a program that another server runs too would count in part.
    end(upstream)
    for name, begin in begins.items():
        found["foreign"].append(gauge.foreign(patience))
        for key, figure in lives(around, begin, count).items():
            figures[key][name] = figure
    return found


def record(around, rounds, seconds, count, patience, command):
    """All rounds, and where they were measured."""
    machine, begun, before = gauge.machine(), time.monotonic(), gauge.times()
    found = []
    for number in range(rounds):
        found.append(one(around, number, seconds, count, patience))
        others = found[-1]["foreign"]
        print(f"round {number + 1} of {rounds}, after {time.monotonic() - begun:.0f} s; others used {statistics.mean(others) * 100:.0f} % of the CPUs, at most {max(others) * 100:.0f} %", file=sys.stderr, flush=True)
    whole, _, stolen = (after - begin for after, begin in zip(gauge.times(), before))
    return {
        "date": datetime.date.today().isoformat(),
        "command": command,
        "seconds": seconds,
        "connections": count,
        "took_s": round(time.monotonic() - begun),
        "machine": machine | {"stolen": stolen / whole},
        "versions": gauge.versions(around.binary),
        "rounds": found,
    }
