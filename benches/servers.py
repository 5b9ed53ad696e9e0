"""Starts the servers of a benchmark, each on a CPU of its own choice, and ends them."""

import contextlib, json, os, pathlib, shutil, signal, socket, subprocess, sys, threading, time, urllib.request

from programs import find

# Of the servers that are measured; and of all else: load, upstream, database.
SERVERS, LOAD = 0, 1


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.01)
    sys.exit(f"nothing listens on port {port}")


def ready(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").status == 200:
                return
        except OSError:
            time.sleep(0.01)
    sys.exit("vestibule did not become ready")


@contextlib.contextmanager
def on_cpu(number):
    """What is started within runs there, from its first instruction on."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {number})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def tree(pid):
    """The process and all below it."""
    pids, queue = [], [pid]
    while queue:
        pid = queue.pop()
        pids.append(pid)
        for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
            with contextlib.suppress(OSError):
                queue += map(int, (task / "children").read_text().split())
    return pids


def end(process):
    """At once, with nginx's workers: vestibule would drain first."""
    for pid in tree(process.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def nginx(work, name, servers, before="", cpu=LOAD, log="off"):
    """`servers` are the insides of server blocks, `before` stands beside them."""
    folder = work / name
    folder.mkdir()
    temporary = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"worker_processes 1; worker_rlimit_nofile 16384; daemon off; pid {folder}/pid; error_log {folder}/error.log;\n"
        "events { worker_connections 8192; }\n"
        f"http {{ {before}\n access_log {log}; {temporary} keepalive_requests 100000000;\n"
        + "".join(f"server {{ {server} }}\n" for server in servers)
        + "}\n"
    )
    with on_cpu(cpu):
        return subprocess.Popen([find("nginx"), "-p", folder, "-c", folder / "nginx.conf"], stderr=subprocess.DEVNULL)


def haproxy(work, name, configuration, cpu=SERVERS):
    folder = work / name
    folder.mkdir()
    (folder / "haproxy.cfg").write_text(configuration)
    with on_cpu(cpu), open(folder / "log", "w") as log, open(folder / "errors", "w") as errors:
        return subprocess.Popen([find("haproxy"), "-db", "-f", folder / "haproxy.cfg"], stdout=log, stderr=errors)


def forward_auth(more=", gateway_overwrites: [X-Forwarded-User, X-Forwarded-Email, X-Forwarded-Groups]", port=0):
    """The listener for gateways, in the configuration; `more` is what it needs where identity comes by headers."""
    return f"forward_auth: {{ listen: 127.0.0.1:{port}, peers: [127.0.0.1], accept_shared_loopback: true, gateways: [nginx], gateway_removes: [cookie]{more} }}"


def configuration(upstream, postgres, log="warn", identity="preset: oauth2-proxy, reads: [user, email, groups]", more="", port=0):
    return f"""
listen: 127.0.0.1:{port}
admin: 127.0.0.1:0
workers: 1
trust: {{ peers: [127.0.0.1], accept_shared_loopback: true }}
identity: {{ {identity} }}
{more}
rules:
  - when: {{ group: llm-users }}
    role: internal_user
default_role: deny
session: {{ secret: 0123456789abcdef0123456789abcdef }}
litellm: {{ url: "http://127.0.0.1:{upstream}", database_url: "{postgres.url}" }}
log: {{ format: json, level: "{log},vestibule::server=info" }}
"""


def vestibule(work, binary, upstream, postgres, name, log="warn", under=(), cpu=None, **settings):
    """Its ports, its process and the seconds until it listened. `under` is a command that runs it."""
    folder = work / name
    folder.mkdir()
    (folder / "vestibule.yaml").write_text(configuration(upstream, postgres, log, **settings))
    with contextlib.nullcontext() if cpu is None else on_cpu(cpu):
        started = time.monotonic()
        process = subprocess.Popen([*under, binary, "serve", "--config", folder / "vestibule.yaml"], stderr=subprocess.PIPE, text=True)
    ports, awaited = {}, {"proxy", "admin"} | ({"forward_auth"} if "forward_auth" in settings.get("more", "") else set())
    while not awaited <= ports.keys():
        line = process.stderr.readline() or sys.exit("vestibule did not start")
        if not line.startswith("{"):
            sys.exit(line + process.stderr.read())
        entry = json.loads(line)
        if entry.get("message") == "listening":
            ports[entry["what"]] = int(entry["address"].rsplit(":", 1)[1])
    listening = time.monotonic() - started
    # Its log goes where nginx's goes: to a file.
    sink = open(folder / "log", "w")
    threading.Thread(target=shutil.copyfileobj, args=(process.stderr, sink), daemon=True).start()
    return ports, process, listening


def vestibule_at(work, binary, upstream, postgres, name, port, log="warn", cpu=SERVERS, **settings):
    """Its process, not waited for, with its log in a file."""
    folder = work / name
    folder.mkdir()
    (folder / "vestibule.yaml").write_text(configuration(upstream, postgres, log, port=port, **settings))
    with on_cpu(cpu), open(folder / "log", "w") as sink:
        return subprocess.Popen([binary, "serve", "--config", folder / "vestibule.yaml"], stderr=sink)
