"""The measurements that `benches/run` makes by hand: each starts what it needs, and returns figures."""

import subprocess, sys, time

from contenders import begin_nginx, begin_vestibule, nginx_answers, nginx_proxy, nginx_table
from figures import alternating
from gauge import cpu, pss
from load import held, wrk
from probe import first_answer
from programs import ROOT
from request import ASKING, HEADERS, IDENTITY, QUESTION
from servers import LOAD, SERVERS, end, forward_auth, free_port, nginx, ready, vestibule, wait_for
from upstreams import hold, in_background, model


def under_load(port, pids, seconds, method="GET", **how):
    """CPU per request of the processes, and what wrk saw."""
    before = cpu(*pids)
    result = wrk(port, seconds, method, **how)
    used = cpu(*pids) - before
    return result | {"cpu_us": used / result["requests"] * 1e6, "busy": used / seconds}


def requests(around, rounds, seconds, log):
    """vestibule beside nginx, which does the same job: by method, a list of rounds."""
    port = free_port()
    upstream = model(around.work, around.name("model"), port)
    ports, ours, _ = vestibule(around.work, around.binary, port, around.postgres, around.name("vestibule"), log, cpu=SERVERS)
    peer = nginx_proxy(around, port, False)
    wait_for(port), first_answer(peer), ready(ports["admin"])
    servers, found = {"nginx": (peer.port, peer.pids), "vestibule": (ports["proxy"], [ours.pid])}, {}
    for at, _ in servers.values():
        wrk(at, 1)
    for method in ("GET", "POST"):
        found[method] = []
        for number in range(rounds):
            row = {name: under_load(*servers[name], seconds, method) for name in alternating(servers, number)}
            row["ratio"] = row["vestibule"]["cpu_us"] / row["nginx"]["cpu_us"]
            found[method].append(row)
    found["loaded_mib"] = {name: pss(*pids) for name, (_, pids) in servers.items()}
    peer.end(), end(ours), end(upstream)
    return found


def starts(around, count=15):
    """Milliseconds until it listens."""
    found = []
    for _ in range(count):
        _, process, seconds = vestibule(around.work, around.binary, free_port(), around.postgres, around.name("start"), cpu=SERVERS)
        found.append(seconds * 1e3)
        end(process)
    return {"start_ms": found}


def memory_of(around, count, path, rest):
    """MiB before and with so many streams."""
    port = free_port()
    upstream = in_background(port, hold)
    ports, process, _ = vestibule(around.work, around.binary, port, around.postgres, around.name("streams"), cpu=SERVERS)
    ready(ports["admin"])
    idle = pss(process.pid)
    with held(ports["proxy"], count, path):
        time.sleep(rest)
        full = pss(process.pid)
    end(process), upstream.terminate()
    return idle, full


def streams(around, count):
    idle, full = memory_of(around, count, "/events", 1)
    return {"streams": count, "idle_mib": idle, "streams_mib": full, "stream_kib": (full - idle) * 1024 / count}


def stalled(around, count):
    """Streams whose readers take the first event and nothing more."""
    idle, full = memory_of(around, count, "/flood", 3)
    return {"stalled": count, "stalled_kib": (full - idle) * 1024 / count}


def questions(around, rounds, seconds):
    """A yes to a gateway: nginx from a table of people, vestibule by their headers, vestibule by asking the sign-in proxy."""
    by_cookie = {name: value for name, value in ASKING.items() if name not in IDENTITY}
    table, sign_in, by_headers = free_port(), free_port(), free_port()
    rival = begin_nginx(around, "table", [nginx_answers(table)], nginx_table(), False)
    says = f'add_header X-Auth-Request-User "{HEADERS["X-Forwarded-User"]}"; add_header X-Auth-Request-Email {HEADERS["X-Forwarded-Email"]}; add_header X-Auth-Request-Groups "{HEADERS["X-Forwarded-Groups"]}";'
    proxy = nginx(around.work, around.name("sign-in"), [f"listen 127.0.0.1:{sign_in} backlog=4096; location /oauth2/auth {{ {says} return 200; }}"], cpu=LOAD)
    check = f"source: check, check: {{ url: 'http://127.0.0.1:{sign_in}/oauth2/auth' }}, preset: oauth2-proxy-auth-request, reads: [user, email, groups]"
    ours = begin_vestibule(around, table, free_port(), by_headers, False)
    asks = "public_url: https://llm.example.com\n" + forward_auth(more="")
    asking_ports, asking, _ = vestibule(around.work, around.binary, table, around.postgres, around.name("asking"), identity=check, more=asks, cpu=SERVERS)
    wait_for(table), wait_for(sign_in), wait_for(by_headers), ready(asking_ports["admin"])
    ways = {
        "nginx": (table, rival, ASKING),
        "vestibule, by headers": (by_headers, ours, ASKING),
        "vestibule, asking": (asking_ports["forward_auth"], asking, by_cookie),
    }
    rows = {name: [] for name in ways}
    for number in range(rounds):
        for name in alternating(ways, number):
            port, process, headers = ways[name]
            rows[name].append(under_load(port, [process.pid], seconds, path=QUESTION, headers=headers))
    for process in (rival, proxy, ours, asking):
        end(process)
    return {"questions": rows}


def checks():
    """Nanoseconds of the checks of bytes and heads, in lines."""
    out = subprocess.run(["cargo", "bench", "--locked", "--bench", "checks"], cwd=ROOT, capture_output=True, text=True)
    return {"checks": [line for line in out.stdout.splitlines() if line.endswith(" ns")] or sys.exit(out.stderr)}
