"""Start the server on free ports, rank the example jobs for the example resumes, stop it. Exits as the ranking does."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

from rolecall_client.cli import main as client

ROOT = Path(__file__).resolve().parent.parent
STOP_SECONDS = 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> int:
    port = free_port()
    command = [sys.executable, "-m", "rolecall_server", "serve", "--port", str(port), "--metrics-port", "0"]
    repository = str(ROOT / "model_repository")
    server = subprocess.Popen([*command, "--model-repository", repository, "--log-level", "warning"])
    try:
        return client(["demo", "--address", f"127.0.0.1:{port}", "--examples", str(ROOT / "examples")])
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(STOP_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
