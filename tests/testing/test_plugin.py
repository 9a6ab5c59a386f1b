"""The pytest plugin, as pytest loads it for a user's tests: here, in a pytest of their own."""

from __future__ import annotations

import sys

import pytest

# pytester forgets what a user's tests have imported; of half of FastAPI it then makes another one.
import airflow_provider_telzino.sandbox.app
import airflow_provider_telzino.sandbox.server  # noqa: F401
from airflow_provider_telzino.hooks import dial_guard
from airflow_provider_telzino.testing import plugin

CALL = """
    from airflow_provider_telzino.hooks.telzino import TelzinoHook

    def call(number="+12125550123"):
        with TelzinoHook() as hook:
            return hook.place_call(number, retry_for=0)
"""


@pytest.fixture(autouse=True)
def quiet(pytester: pytest.Pytester) -> None:
    """Configure pytest for tests of a user."""
    pytester.makeini(
        "[pytest]\n"
        "addopts = -p no:schemathesis -p no:cacheprovider\n"
        "asyncio_default_fixture_loop_scope = function\n"
    )


def run(pytester: pytest.Pytester, tests: str) -> pytest.RunResult:
    """Run a user's tests in this process."""
    pytester.makepyfile(CALL + tests)
    return pytester.runpytest_inprocess()


def run_alone(pytester: pytest.Pytester, tests: str, *options: str) -> pytest.RunResult:
    """Run a user's tests in a process of their own."""
    pytester.makepyfile(tests)
    return pytester.runpytest_subprocess(*options)


class TestScripts:
    """What a test scripts is what has to be dialled."""

    def test_calls_as_scripted(self, pytester: pytest.Pytester) -> None:
        """They end in the order of their outcomes, on the test's clock."""
        result = run(
            pytester,
            """
    def test_it(telzino):
        telzino.script("+12125550123", ["busy", "completed"])
        call(), call()
        telzino.clock.advance(600)
        assert [each["status"] for each in telzino.calls] == ["busy", "completed"]
            """,
        )

        result.assert_outcomes(passed=1)

    def test_a_call_that_was_not_scripted(self, pytester: pytest.Pytester) -> None:
        """It is refused, and the test fails although it expects the error; the report says how to script."""
        result = run(
            pytester,
            """
    import pytest

    def test_it(telzino):
        with pytest.raises(Exception, match="400"):
            call()
        assert telzino.calls == []
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*telzino.script(\"+12125550123\", [[]'completed'[]])*"])

    def test_more_calls_than_scripted(self, pytester: pytest.Pytester) -> None:
        """One outcome is one call: a second one is refused, and nobody's phone would have rung twice."""
        result = run(
            pytester,
            """
    import pytest

    def test_it(telzino):
        telzino.script("+12125550123", ["busy"])
        call()
        with pytest.raises(Exception, match="400"):
            call()
        telzino.assert_dialled_once("+12125550123")
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*has not scripted*"])

    def test_a_magic_number_is_not_scripted(self, pytester: pytest.Pytester) -> None:
        """The sandbox's own numbers have to be scripted like others."""
        result = run(
            pytester,
            """
    import pytest

    def test_it(telzino):
        with pytest.raises(Exception, match="400"):
            call("+15005550100")
            """,
        )

        result.assert_outcomes(failed=1)

    def test_calls_that_were_not_placed(self, pytester: pytest.Pytester) -> None:
        """The test fails, and the report names the number and what was left."""
        result = run(
            pytester,
            """
    def test_it(telzino):
        telzino.script("+12125550123", ["busy", "completed"])
        call()
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["Of the calls scripted to +12125550123, 1 were not placed*completed*"])

    def test_optional_calls(self, pytester: pytest.Pytester) -> None:
        """They need not be placed."""
        result = run(
            pytester,
            """
    def test_it(telzino):
        telzino.script("+12125550123", ["busy"], optional=True)
            """,
        )

        result.assert_outcomes(passed=1)

    @pytest.mark.parametrize(("tries", "outcome"), [(1, "passed"), (0, "failed")])
    def test_a_call_to_be_refused(self, pytester: pytest.Pytester, tries: int, outcome: str) -> None:
        """A test can expect that the API refuses a number; then somebody has to try it."""
        result = run(
            pytester,
            f"""
    import pytest

    def test_it(telzino):
        telzino.refuse("+12125550123")
        for _ in range({tries}):
            with pytest.raises(Exception, match="400"):
                call()
            """,
        )

        result.assert_outcomes(**{outcome: 1})

    def test_assert_dialled_once(self, pytester: pytest.Pytester) -> None:
        """It returns the record; otherwise it says how often and whom else."""
        result = run(
            pytester,
            """
    import pytest

    def test_it(telzino):
        telzino.script("+12125550123", ["busy"])
        telzino.script("+12125550124", ["busy", "busy"])
        call(), call("+12125550124"), call("+12125550124")
        assert telzino.assert_dialled_once("+12125550123")["status"] == "queued"
        with pytest.raises(AssertionError, match="124 was dialled 2 times.*other numbers.*123"):
            telzino.assert_dialled_once("+12125550124")
        with pytest.raises(AssertionError, match="125 was dialled 0 times"):
            telzino.assert_dialled_once("+12125550125")
            """,
        )

        result.assert_outcomes(passed=1)

    def test_a_test_that_fails_by_itself(self, pytester: pytest.Pytester) -> None:
        """Its own failure is reported, and not that it was cut short."""
        result = run(
            pytester,
            """
    def test_it(telzino):
        telzino.script("+12125550123", ["busy"])
        assert 1 == 2
            """,
        )

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*assert 1 == 2*"])
        result.stdout.no_fnmatch_line("*were not placed*")


class TestGuard:
    """No test dials, whether it uses the fixture or not."""

    def test_both_names_are_the_same(self) -> None:
        """The transports ask for the variable that the plugin sets."""
        assert plugin.TEST_RUN == dial_guard.TEST_RUN
        assert plugin.REAL_API == dial_guard.REAL_API

    @pytest.mark.parametrize("how", ["hook", "session", "async hook", "token"])
    def test_the_hooks_do_not_dial(self, pytester: pytest.Pytester, how: str) -> None:
        """A connection to a real host is of no use to a test: a final error, before anything is sent."""
        send = {
            "hook": "call()",
            "session": "TelzinoHook().get_conn().post('https://api.telzino.com/v1/anything')",
            "async hook": "asyncio.run(TelzinoAsyncHook().place_call('+12125550123'))",
            "token": "TelzinoHook().list_calls().__next__()",
        }[how]
        login = '"login": "id", ' if how == "token" else ""
        result = run(
            pytester,
            f"""
    import asyncio
    import pytest
    from airflow_provider_telzino.exceptions import TelzinoRealCallInTestError
    from airflow_provider_telzino.hooks.telzino import TelzinoAsyncHook

    REAL = '''{{"conn_type": "telzino", "host": "https://api.telzino.com", {login}"password": "secret",
        "extra": {{"agent_id": "123e4567-e89b-12d3-a456-426614174000"}}}}'''

    def test_it(monkeypatch):
        monkeypatch.setenv("AIRFLOW_CONN_TELZINO_DEFAULT", REAL)
        with pytest.raises(TelzinoRealCallInTestError, match="Nothing was sent"):
            {send}
            """,
        )

        result.assert_outcomes(passed=1)

    def test_other_clients_do_not_dial(self, pytester: pytest.Pytester) -> None:
        """Not even where the test catches all errors, as ``dag.test()`` does."""
        url = "http://api.telzino.com/v1/agents/123/outbound-calls"
        result = run(
            pytester,
            f"""
    import requests
    import urllib.request

    def test_requests():
        try:
            requests.post("{url}", json={{}}, timeout=5)
        except Exception:
            pass

    def test_urllib():
        try:
            urllib.request.urlopen(urllib.request.Request("{url}", b"{{}}", method="POST"), timeout=5)
        except Exception:
            pass
            """,
        )

        result.assert_outcomes(failed=2)
        result.stdout.fnmatch_lines(["*about to place a real call, by a POST to api.telzino.com*"])

    def test_a_process_of_a_test_does_not_dial(self, pytester: pytest.Pytester) -> None:
        """It inherits the variable."""
        result = run_alone(
            pytester,
            f"""
    import subprocess

    def test_it():
        code = (
            "from airflow_provider_telzino.hooks.dial_guard import refuse_in_tests;"
            "refuse_in_tests('POST', 'api.telzino.com')"
        )
        done = subprocess.run([{sys.executable!r}, "-c", code], capture_output=True, text=True)
        assert "TelzinoRealCallInTestError" in done.stderr
            """,
        )

        result.assert_outcomes(passed=1)

    def test_reading_is_allowed(self) -> None:
        """Only a POST can be a call, and only Telzino places real ones."""
        dial_guard.refuse_in_tests("GET", "api.telzino.com")
        dial_guard.refuse_in_tests("POST", "telzino.invalid")
        dial_guard.refuse_in_tests("POST", "nottelzino.com")
        dial_guard.refuse_in_tests("POST", "127.0.0.1")
        dial_guard.refuse_in_tests("POST", "::1")

    def test_outside_of_tests_calls_are_allowed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Without the variable, which only the plugin sets, nothing is refused."""
        monkeypatch.delenv(dial_guard.TEST_RUN)

        dial_guard.refuse_in_tests("POST", "api.telzino.com")


def test_it_loads_nothing_before_the_fixture_is_used(pytester: pytest.Pytester) -> None:
    """A project that has the provider installed pays nothing in its other tests."""
    result = run_alone(
        pytester,
        """
    import sys

    def test_it():
        loaded = {name.partition(".")[0] for name in sys.modules}
        assert not loaded & {"airflow", "aiohttp", "fastapi", "pendulum", "requests", "uvicorn"}
        assert {name for name in sys.modules if name.startswith("airflow_provider_telzino")} == {
            "airflow_provider_telzino",
            "airflow_provider_telzino.testing",
            "airflow_provider_telzino.testing.plugin",
        }
        """,
    )

    result.assert_outcomes(passed=1)


def test_a_missing_extra(pytester: pytest.Pytester) -> None:
    """The fixture says what to install."""
    result = run_alone(
        pytester,
        """
    import sys
    sys.modules["time_machine"] = None

    def test_it(telzino):
        pass
        """,
    )

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*needs time_machine: pip install 'airflow-provider-telzino[[]testing[]]'*"])


@pytest.mark.slow
def test_each_process_has_its_own(pytester: pytest.Pytester) -> None:
    """Under pytest-xdist, sandboxes share neither a port nor calls."""
    result = run_alone(
        pytester,
        CALL
        + """
    import pytest

    @pytest.mark.parametrize("each", range(4))
    def test_it(telzino, each):
        telzino.script("+12125550123", ["busy"])
        call()
        telzino.assert_dialled_once("+12125550123")
        """,
        *("-n", "2"),
    )

    result.assert_outcomes(passed=4)
