"""The request that benchmarks send, the answer that they get, and both as bytes."""

import json, re

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
# Those by which a user is known. A server takes them off before the upstream.
IDENTITY = [name for name in HEADERS if name.startswith("X-Forwarded-") and name not in ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host")]
# What the model's stand-in answers: 1 KB.
BODY = json.dumps({"id": "x", "choices": [{"message": {"content": "h" * 960}}]})
# One token of a stream, as LiteLLM sends it.
EVENT = b"data: " + json.dumps({"id": "chatcmpl-0", "object": "chat.completion.chunk", "created": 1767225600, "model": "gpt", "choices": [{"index": 0, "delta": {"content": " word"}, "finish_reason": None}]}).encode() + b"\n\n"

# A question of nginx's about such a request. The gateway hands on no header that it has not overwritten.
QUESTION = "/vestibule/auth/nginx"
ASKED = {"X-Original-URI": PATH, "X-Original-Method": "POST", "X-Original-Host": "llm.example.com"}
ASKING = {name: value for name, value in HEADERS.items() if name != "X-Forwarded-Preferred-Username"} | ASKED


def head(method, path, headers, length=0):
    fields = {"Host": "llm.example.com"} | headers | ({"Content-Type": "application/json", "Content-Length": str(length)} if length else {})
    return (f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items()) + "\r\n").encode()


def message(connection):
    """One message with its length in its head; None at the end."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    length = re.search(rb"^content-length: *(\d+)\r$", data, re.I | re.M)
    missing = data.index(b"\r\n\r\n") + 4 + int(length[1] if length else 0) - len(data)
    while missing > 0:
        piece = connection.recv(missing)
        if not piece:
            raise ConnectionError("a message broke off")
        missing -= len(piece)
        data += piece
    return data
