"""The servers that are measured, each set up for the same job: know the user by the OAuth proxy's headers, answer 401 to strangers,
strip the identity headers and the sign-in's cookie, and go on with the user's key as Authorization."""

import dataclasses, time

from request import HEADERS, IDENTITY, QUESTION
from servers import SERVERS, end, forward_auth, free_port, haproxy, nginx, vestibule_at

USER = HEADERS["X-Forwarded-User"]
KEYS = {USER: f"sk-{'k' * 43}"} | {f"user-{n}": f"sk-{n:043d}" for n in range(1000)}
LISTEN = "listen 127.0.0.1:{port} backlog=4096;"


@dataclasses.dataclass
class Contender:
    """One that runs. `question` is where a gateway asks it, if it can be asked."""

    port: int
    processes: list
    started: float
    question: int | None = None

    @property
    def pids(self):
        return [process.pid for process in self.processes]

    def end(self):
        for process in self.processes:
            end(process)


@dataclasses.dataclass
class Surroundings:
    """What all of them need."""

    work: object
    binary: str
    postgres: object
    number: int = 0

    def name(self, what):
        self.number += 1
        return f"{what}-{self.number}"


def nginx_table():
    keys = "".join(f'"{user}" "{key}";' for user, key in KEYS.items())
    return f'map_hash_bucket_size 256; map_hash_max_size 8192; map $http_x_forwarded_user $key {{ default ""; {keys} }}'


def nginx_log(path):
    """With a buffer, as vestibule's log has one: unbuffered, nginx makes a system call for each line."""
    fields = {
        "timestamp": '"$time_iso8601"', "request_id": '"$request_id"', "peer": '"$remote_addr"', "method": '"$request_method"', "path": '"$uri"',
        "person": '"$http_x_forwarded_user"', "status": "$status", "first_byte": '"$upstream_header_time"', "total": "$request_time", "bytes": "$body_bytes_sent",
    }
    line = ",".join(f'"{name}":{value}' for name, value in fields.items())
    return f"log_format line escape=json '{{{line}}}';", f"{path} line buffer=64k flush=1s"


def upstream(name, port):
    return f"upstream {name} {{ server 127.0.0.1:{port}; keepalive 64; keepalive_requests 100000000; }}"


def pass_on(authorization, key):
    """How nginx sends a request on."""
    stripped = "".join(f'proxy_set_header {name} "";' for name in [*IDENTITY, "Cookie"])
    return (
        f'proxy_pass http://model; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_set_header Host $host; {stripped}'
        f'proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header Authorization {authorization}; proxy_set_header x-litellm-api-key {key};'
        'proxy_set_header X-Request-Id $request_id; proxy_set_header Via "1.1 nginx"; add_header X-Request-Id $request_id;'
    )


def nginx_answers(port):
    """A server that answers a gateway from the table."""
    given = 'add_header Authorization "Bearer $key"; add_header x-litellm-api-key $key; add_header Cache-Control no-store;'
    return f'{LISTEN.format(port=port)} location {QUESTION} {{ if ($key = "") {{ return 401; }} {given} return 200; }}'


def nginx_asks(port, asked):
    """A server that asks `asked` about each request."""
    before = upstream("auth", asked)
    server = (
        f'{LISTEN.format(port=port)} location / {{ auth_request /_ask; auth_request_set $authorization $upstream_http_authorization;'
        f'auth_request_set $given $upstream_http_x_litellm_api_key; {pass_on("$authorization", "$given")} }}'
        f'location = /_ask {{ internal; proxy_pass http://auth{QUESTION}; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_pass_request_body off;'
        'proxy_set_header Content-Length ""; proxy_set_header Host $host; proxy_set_header X-Forwarded-Preferred-Username "";'
        "proxy_set_header X-Original-URI $request_uri; proxy_set_header X-Original-Method $request_method; proxy_set_header X-Original-Host $host; }"
    )
    return before, server


def begin_nginx(around, name, servers, before, is_logged):
    folder = around.name(name)
    format, log = nginx_log(around.work / folder / "access.log") if is_logged else ("", "off")
    return nginx(around.work, folder, servers, f"{before} {format}", SERVERS, log)


def begin_vestibule(around, model, port, question, is_logged):
    return vestibule_at(around.work, around.binary, model, around.postgres, around.name("vestibule"), port, "info" if is_logged else "warn", more=forward_auth(port=question))


def vestibule(around, model, is_logged):
    port, question, started = free_port(), free_port(), time.monotonic()
    return Contender(port, [begin_vestibule(around, model, port, question, is_logged)], started, question)


def nginx_proxy(around, model, is_logged):
    port, question, started = free_port(), free_port(), time.monotonic()
    through = f'{LISTEN.format(port=port)} location / {{ if ($key = "") {{ return 401; }} {pass_on(chr(34) + "Bearer $key" + chr(34), "$key")} }}'
    process = begin_nginx(around, "nginx", [through, nginx_answers(question)], nginx_table() + upstream("model", model), is_logged)
    return Contender(port, [process], started, question)


def nginx_asks_nginx(around, model, is_logged):
    port, asked, started = free_port(), free_port(), time.monotonic()
    answers = begin_nginx(around, "auth", [nginx_answers(asked)], nginx_table(), is_logged)
    before, server = nginx_asks(port, asked)
    return Contender(port, [begin_nginx(around, "gateway", [server], before + upstream("model", model), is_logged), answers], started)


def nginx_asks_vestibule(around, model, is_logged):
    port, asked, started = free_port(), free_port(), time.monotonic()
    answers = begin_vestibule(around, model, free_port(), asked, is_logged)
    before, server = nginx_asks(port, asked)
    return Contender(port, [begin_nginx(around, "gateway", [server], before + upstream("model", model), is_logged), answers], started)


def haproxy_proxy(around, model, is_logged):
    port, question = free_port(), free_port()
    keys = around.work / around.name("keys")
    keys.write_text("".join(f"{user} {key}\n" for user, key in KEYS.items()))
    fields = {
        "timestamp": '"%t"', "request_id": '"%[var(txn.id)]"', "peer": '"%ci"', "method": '"%HM"', "path": '"%HPO"',
        "person": '"%[var(txn.user)]"', "status": "%ST", "first_byte": "%Tr", "total": "%Ta", "bytes": "%B",
    }
    line = ",".join(f'"{name}":{value}' for name, value in fields.items())
    logged = (f"log global\n  log-format '{{{line}}}'", "http-request set-var(txn.user) req.hdr(X-Forwarded-User)") if is_logged else ("", "")
    stripped = "\n".join(f"  http-request del-header {name}" for name in [*IDENTITY, "Cookie"])
    knows = f"""http-request set-var(txn.key) req.hdr(X-Forwarded-User),map_str({keys})
  http-request deny deny_status 401 unless {{ var(txn.key) -m found }}"""
    configuration = f"""
global
  maxconn 8192
  nbthread 1
  log stdout format raw local0 info
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  timeout http-keep-alive 75s
  option http-no-delay
frontend proxy
  bind 127.0.0.1:{port} backlog 4096
  {logged[0]}
  {logged[1]}
  {knows}
  http-request set-var(txn.id) uuid()
{stripped}
  option forwardfor
  http-request set-header Authorization "Bearer %[var(txn.key)]"
  http-request set-header x-litellm-api-key %[var(txn.key)]
  http-request set-header X-Request-Id %[var(txn.id)]
  http-request set-header Via "1.1 haproxy"
  http-response set-header X-Request-Id %[var(txn.id)]
  default_backend model
frontend question
  bind 127.0.0.1:{question} backlog 4096
  {logged[0]}
  {knows}
  http-request return status 200 hdr Authorization "Bearer %[var(txn.key)]" hdr x-litellm-api-key %[var(txn.key)] hdr Cache-Control no-store
backend model
  http-reuse always
  server model 127.0.0.1:{model}
"""
    started = time.monotonic()
    return Contender(port, [haproxy(around.work, around.name("haproxy"), configuration)], started, question)


# By the name in the record, in the order of the page's columns.
CONTENDERS = {
    "vestibule": vestibule,
    "nginx": nginx_proxy,
    "haproxy": haproxy_proxy,
    "nginx-asks-nginx": nginx_asks_nginx,
    "nginx-asks-vestibule": nginx_asks_vestibule,
}
