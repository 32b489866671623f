"""When a scenario of the conformance suite counts as passed."""

import pytest

from support.conformance import REQUIRED, Run, Verdict

pytestmark = pytest.mark.once


def verdict(*statuses, scenario="tools_call", exit_code=0, name="Row"):
    checks = [{"name": name, "status": status, "errorMessage": "why"} for status in statuses]
    return Verdict(Run(scenario), exit_code, checks, "what it wrote")


def test_successes_and_notes_pass():
    assert verdict("SUCCESS", "INFO", "SKIPPED").passed


@pytest.mark.parametrize("status", ["FAILURE", "WARNING"])
def test_a_failure_or_a_warning_does_not(status):
    found = verdict("SUCCESS", status)
    assert not found.passed
    assert f"{status} Row: why" in str(found)


def test_a_client_that_exits_with_an_error_does_not():
    found = verdict("SUCCESS", exit_code=1)
    assert not found.passed
    assert "what it wrote" in str(found)


def test_a_scenario_that_checked_nothing_does_not():
    assert not verdict().passed
    assert not verdict("SKIPPED", "INFO").passed


def test_a_row_that_was_not_exercised_counts_where_all_must_be():
    assert not verdict("SUCCESS", "SKIPPED", scenario="http-standard-headers").passed


def test_the_modern_wire_has_no_initialize_to_exercise():
    impossible = "ClientMcpMethodHeader_initialize"
    assert verdict("SUCCESS", "SKIPPED", scenario="http-standard-headers", name=impossible).passed


def test_a_line_says_how_many_checks_there_were():
    line = str(verdict("SUCCESS", "SUCCESS", "SKIPPED"))
    assert "  2 ok, 0 failed, 0 warnings, 1 skipped" in line


def test_a_run_is_written_as_it_is_read():
    assert [str(Run.parse(text)) for text in ("initialize", "tools_call@2026-07-28")] == [
        "initialize",
        "tools_call@2026-07-28",
    ]
    assert len(REQUIRED) == len({str(run) for run in REQUIRED})
