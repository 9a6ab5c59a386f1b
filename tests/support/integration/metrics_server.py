"""A StatsD server that collects the metrics of an Airflow."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator


class MetricsServer:
    """Collects metrics over UDP, on a free port of loopback."""

    def __init__(self, receiver: socket.socket) -> None:
        self._socket = receiver
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    @property
    def settings(self) -> dict[str, str]:
        """The settings with which an Airflow sends its metrics here."""
        host, port = self._socket.getsockname()
        settings = {"STATSD_ON": "True", "STATSD_HOST": host, "STATSD_PORT": str(port)}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}

    def values(self, name: str) -> list[float]:
        """Return all values of a metric, in the order in which they arrived."""
        return list(self._values[f"airflow.{name}"])

    def receive(self) -> None:
        """Receive packets until an empty one."""
        while packet := self._socket.recv(65_536):
            for line in packet.decode().splitlines():
                name, _, rest = line.partition(":")
                self._values[name].append(float(rest.partition("|")[0]))


@contextlib.contextmanager
def metrics_server() -> Iterator[MetricsServer]:
    """Run the server until the end of the block."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        server = MetricsServer(receiver)
        thread = threading.Thread(target=server.receive, daemon=True)
        thread.start()
        yield server
        receiver.sendto(b"", receiver.getsockname())
        thread.join()
