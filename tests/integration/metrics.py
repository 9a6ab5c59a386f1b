"""A StatsD server: it hears the metrics that an Airflow sends."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict
from types import TracebackType


class MetricsServer:
    """Collects metrics over UDP, on a free port of this machine, between ``with`` and its end."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._values: defaultdict[str, list[float]] = defaultdict(list)
        self._thread = threading.Thread(target=self._receive, daemon=True)

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.sendto(b"", self._socket.getsockname())  # an empty packet is the end
        self._thread.join()
        self._socket.close()

    @property
    def settings(self) -> dict[str, str]:
        """What sends an Airflow's metrics here."""
        port = str(self._socket.getsockname()[1])
        settings = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": port}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in settings.items()}

    def values(self, name: str) -> list[float]:
        """Return all values of a metric, in the order in which they came."""
        return list(self._values[f"airflow.{name}"])

    def _receive(self) -> None:
        while packet := self._socket.recv(65_536):
            for line in packet.decode().splitlines():
                name, _, rest = line.partition(":")
                self._values[name].append(float(rest.partition("|")[0]))
