"""The command ``python -m airflow_provider_telzino.sandbox``."""

from __future__ import annotations

import argparse
import json
import math
import random
import signal
import sys
import threading
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from airflow_provider_telzino.sandbox import ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, Faults, Sandbox
from airflow_provider_telzino.sandbox.magic_numbers import TABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_PORT = 8765
WRONG_OPTIONS = 2
"""argparse's exit code for wrong options."""


def share(text: str) -> float:
    """Parse a share of all requests, from 0 to 1."""
    rate = float(text)
    if not 0 <= rate <= 1:
        raise ValueError
    return rate


def positive(text: str) -> float:
    """Parse a number over 0."""
    number = float(text)
    if not 0 < number < math.inf:
        raise ValueError
    return number


def not_negative(text: str) -> float:
    """Parse a number of seconds."""
    return float(text) if float(text) == 0 else positive(text)


def span(text: str) -> tuple[float, float]:
    """Parse seconds, or their minimum and maximum, such as ``0.1-0.5``."""
    least, _, most = text.partition("-")
    times = (not_negative(least), not_negative(most or least))
    if times[0] > times[1]:
        raise ValueError
    return times


def port(text: str) -> int:
    """Parse a TCP port."""
    number = int(text)
    if not 0 <= number <= 65_535:
        raise ValueError
    return number


def count(text: str) -> int:
    """Parse a number of agents, or of calls."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def header_value(text: str) -> str:
    """Parse the value of a header."""
    if not text.isascii() or not text.isprintable():
        raise ValueError
    return text


def script_file(path: str) -> dict[str, Any]:
    """Read what is scripted for the calls to some numbers: arguments of ``Sandbox.script``, by number."""
    try:
        scripts = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(scripts, dict):
            raise TypeError("It should be a JSON object with a number for each key.")
        for number, script in scripts.items():
            Sandbox().script(number, **script)
    except (OSError, TypeError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{path}: {error}") from error
    return scripts


def parser() -> argparse.ArgumentParser:
    """Return the command's options."""
    options = argparse.ArgumentParser(
        prog="python -m airflow_provider_telzino.sandbox",
        description="A local Telzino to develop against: the API in memory, on loopback. No phone rings.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = options.add_argument
    add("--host", default="127.0.0.1", help="loopback address to listen on")
    add("--port", type=port, default=DEFAULT_PORT, help="port to listen on; 0 for a free one")
    add("--speed", type=positive, default=1.0, metavar="TIMES", help="how many times faster than real time")
    add("--seed", type=int, help="repeat ids, outcomes and times of an earlier run (default: a new one)",
        default=argparse.SUPPRESS)  # fmt: skip
    add("--agents", type=count, default=1, metavar="N", help="how many agents there are")
    add("--list-lag", type=not_negative, default=0.0, metavar="SECONDS",
        help="until a new call appears in the list (on the sandbox's clock)")  # fmt: skip
    add("--max-concurrent-calls", type=count, metavar="N", default=argparse.SUPPRESS,
        help="of an agent; further ones stay queued until one ends (default: no limit)")  # fmt: skip
    add("--script", type=script_file, metavar="FILE", default=argparse.SUPPRESS,
        help="JSON that says how calls to some numbers end, and what is said (default: none)")  # fmt: skip

    access = options.add_argument_group("access")
    add = access.add_argument
    add("--client-id", default=CLIENT_ID, metavar="TEXT", help="for fetching tokens")
    add("--client-secret", default=CLIENT_SECRET, metavar="TEXT", help="for fetching tokens")
    add("--access-token", default=ACCESS_TOKEN, metavar="TEXT", help="a token for pasting; it doesn't expire")
    add("--token-lifetime", type=positive, default=86_400.0, metavar="SECONDS",
        help="of fetched tokens (on the sandbox's clock)")  # fmt: skip

    faults = options.add_argument_group("faults", "Faults to inject, in real time.")
    add = faults.add_argument
    add("--latency", type=span, default=(0.0, 0.0), metavar="SECONDS[-SECONDS]",
        help="how long answers take, such as 0.2 or 0.1-2")  # fmt: skip
    add("--error-rate", type=share, default=0.0, metavar="0..1",
        help="share of requests answered with 500; half of the POSTs among them place the call")  # fmt: skip
    add("--rate-limit", type=positive, default=None, metavar="PER_SECOND",
        help="answer 429 to all further requests within a second")  # fmt: skip
    add("--rate-limit-rate", type=share, default=0.0, metavar="0..1",
        help="share of requests answered with 429")  # fmt: skip
    add("--retry-after", type=header_value, default=None, metavar="VALUE",
        help="Retry-After of the 429s: any text, or `auto` for the right number of seconds")  # fmt: skip
    return options


def welcome(sandbox: Sandbox, options: argparse.Namespace, seed: int) -> str:
    """Return what the user needs to start."""
    extra = json.dumps({"agent_id": sandbox.agent_ids[0], "call_url": f"{sandbox.url}/#call={{call_id}}"})
    agents = "\n".join(f"               {agent_id}" for agent_id in sandbox.agent_ids[1:])
    numbers = "\n".join(f"  {magic.number}  {magic.description}" for magic in TABLE)
    return f"""\
Telzino sandbox: {sandbox.url}/ (open it to see the calls live; Ctrl-C stops the sandbox)

Agent          {sandbox.agent_ids[0]}{"" if not agents else chr(10) + agents}
Client ID      {options.client_id}
Client secret  {options.client_secret}
Access token   {options.access_token}
Speed, seed    {options.speed:g}, {seed}

airflow connections add telzino_default --conn-type telzino \\
    --conn-host {sandbox.url} \\
    --conn-login {quote(options.client_id)} --conn-password {quote(options.client_secret)} \\
    --conn-extra {quote(extra)}

Magic numbers (numbers such as +12125550123 end in various ways, any other completes):
{numbers}
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM."""
    options = parser().parse_args(arguments)
    seed = getattr(options, "seed", None)
    if seed is None:
        seed = random.SystemRandom().randrange(100_000)
    ended = threading.Event()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signal_number, lambda *_: ended.set())
    sandbox = Sandbox(
        options.speed,
        seed,
        agents=options.agents,
        faults=Faults(
            latency=options.latency,
            error_rate=options.error_rate,
            rate_limit_rate=options.rate_limit_rate,
            rate_limit=options.rate_limit,
            retry_after=options.retry_after,
            seed=seed,
        ),
        list_lag=options.list_lag,
        max_concurrent_calls=getattr(options, "max_concurrent_calls", None),
        token_lifetime=options.token_lifetime,
        client_id=options.client_id,
        client_secret=options.client_secret,
        access_token=options.access_token,
        host=options.host,
        port=options.port,
        keep_requests=False,
    )
    for number, script in getattr(options, "script", {}).items():
        sandbox.script(number, **script)
    try:
        sandbox.start()
    except ModuleNotFoundError as missing:
        return _refuse(
            f"The module {missing.name} is missing. Install the sandbox's web server: "
            "pip install 'airflow-provider-telzino[sandbox]'"
        )
    except ValueError as error:
        return _refuse(str(error), WRONG_OPTIONS)
    except OSError as error:
        return _refuse(
            f"Can't listen on {options.host}, port {options.port}: {error.strerror}. "
            "Choose another port with --port, or --port 0 for a free one."
        )
    try:
        print(welcome(sandbox, options, seed), flush=True)
        ended.wait()
    finally:
        sandbox.stop()
    return 0


def _refuse(reason: str, exit_code: int = 1) -> int:
    print(reason, file=sys.stderr)
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
