"""What the benchmarks share: the request, a throw-away PostgreSQL, and vestibule as they start it."""

import json, os, pathlib, shutil, socket, subprocess, sys, threading, time, urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PATH = "/v1/chat/completions"
# What oauth2-proxy sends: 14 headers with the Host, about 900 bytes.
HEADERS = {
    "X-Forwarded-User": "00u1a2b3c4d5e6f7g8h9",
    "X-Forwarded-Email": "alice@example.com",
    "X-Forwarded-Groups": "llm-users,engineering,everyone",
    "X-Forwarded-Preferred-Username": "alice",
    "X-Forwarded-For": "203.0.113.7",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "llm.example.com",
    "Authorization": "Bearer client-" + "x" * 120,
    "Cookie": "_oauth2_proxy=" + "y" * 240 + "; theme=dark",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140 Safari/537.36",
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate, br",
    "Accept-Language": "en-US,en;q=0.9",
}
# What the model's stand-in answers: 1 KB.
BODY = json.dumps({"id": "x", "choices": [{"message": {"content": "h" * 960}}]})

# A question of nginx's about such a request. The gateway hands on no header that it has not overwritten.
QUESTION = "/vestibule/auth/nginx"
ASKED = {"X-Original-URI": PATH, "X-Original-Method": "POST", "X-Original-Host": "llm.example.com"}
ASKING = {name: value for name, value in HEADERS.items() if name != "X-Forwarded-Preferred-Username"} | ASKED


def forward_auth(more=", gateway_overwrites: [X-Forwarded-User, X-Forwarded-Email, X-Forwarded-Groups]"):
    """The listener for gateways, in the configuration; `more` is what it needs where identity comes by headers."""
    return f"forward_auth: {{ listen: 127.0.0.1:0, peers: [127.0.0.1], accept_shared_loopback: true, gateways: [nginx], gateway_removes: [cookie]{more} }}"


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


def install(*packages):
    """Whether apt-get could install them."""
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and (not shutil.which("sudo") or subprocess.run([*as_root, "true"], stderr=subprocess.DEVNULL).returncode)):
        return False
    apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq"]
    run = lambda *command: subprocess.run([*apt, *command], stdout=sys.stderr).returncode == 0
    return run("update") and run("install", "-y", "--no-install-recommends", *packages)


def build(settings=(), target=None):
    """The program as it is shipped, built where it is not up to date."""
    command = ["cargo", "build", "--locked", "--profile", "dist", "--bin", "vestibule", "--message-format", "json-render-diagnostics"]
    for setting in settings:
        command += ["--config", setting]
    if target:
        command += ["--target-dir", target]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if out.returncode:
        sys.exit(out.returncode)
    return next(path for path in (json.loads(line).get("executable") for line in out.stdout.splitlines()) if path)


class Postgres:
    def __init__(self, work):
        found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [pathlib.Path(shutil.which("initdb") or sys.exit("PostgreSQL's server programs are needed: apt-get install postgresql"))]
        self.bin, self.port = found[-1].parent, free_port()
        self.home = work / "pg"
        self.home.mkdir()
        self.owner = []
        if os.geteuid() == 0:
            self.owner = ["runuser", "-u", "postgres", "--"]
            os.chmod(work, 0o755)
            shutil.chown(self.home, "postgres")
        self.ctl("initdb", "-U", "bench", "--auth=trust", "-E", "UTF8", "--no-sync")
        self.ctl("start", "-w", "-l", str(self.home / "log"), "-o", f"-p {self.port} -k {self.home} -c listen_addresses=127.0.0.1 -c fsync=off")
        self.sql("CREATE DATABASE litellm", "postgres")
        subprocess.run([self.bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", "litellm", "-v", "ON_ERROR_STOP=1", "-f", ROOT / "tests/fixtures/litellm-schema.sql"], check=True, stdout=subprocess.DEVNULL)
        self.url = f"postgresql://bench@127.0.0.1:{self.port}/litellm"

    def ctl(self, what, *more):
        program = [self.bin / "initdb"] if what == "initdb" else [self.bin / "pg_ctl", what]
        subprocess.run([*self.owner, *program, "-D", self.home / "data", *more], check=True, stdout=subprocess.DEVNULL, cwd="/")

    def sql(self, text, database):
        subprocess.run([self.bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-U", "bench", database, "-c", text], check=True)

    def stop(self):
        self.ctl("stop", "-m", "immediate")


def vestibule(work, binary, upstream, postgres, name, log="warn", identity="preset: oauth2-proxy, reads: [user, email, groups]", more="", under=()):
    """Its ports, its process and the seconds until it listened. `under` is a command that runs it."""
    folder = work / name
    folder.mkdir()
    (folder / "vestibule.yaml").write_text(
        f"""
listen: 127.0.0.1:0
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
    )
    started = time.monotonic()
    process = subprocess.Popen([*under, binary, "serve", "--config", folder / "vestibule.yaml"], stderr=subprocess.PIPE, text=True)
    ports = {}
    while "proxy" not in ports or ("forward_auth" in more) > ("forward_auth" in ports):
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


def ready(port, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz").status == 200:
                return
        except OSError:
            time.sleep(0.01)
    sys.exit("vestibule did not become ready")
