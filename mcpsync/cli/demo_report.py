"""What came of the demo: the numbers, and whether everything held that was promised."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .demo_tally import Count
from .demo_view import milliseconds

SWEEPER = "mcpsync-sweeper"


@dataclass(frozen=True, slots=True)
class Report:
    """The numbers at the end.

    Attributes:
        seconds: How long they called.
        swept_early: How many connections were idle for long enough while the others still called.
        strangers: How many answers held something of another user, or of another call.
        run_twice: How many calls more the server ran than were made.
        idle_threads: The library's threads when all connections were idle.
        sockets: The sockets that were open then.
        connections_left: The connections the manager had at the end.
        trouble: The first error.
    """

    users: int
    threads: int
    seconds: float
    count: Count
    swept_early: int
    strangers: int
    run_twice: int
    idle_threads: tuple[str, ...]
    sockets: int
    connections_left: int
    trouble: str | None

    @property
    def threads_of_connections(self) -> int:
        """How many threads the idle connections owned: all but the sweeper."""
        return sum(name != SWEEPER for name in self.idle_threads)

    def failures(self) -> list[str]:
        """Return a sentence for everything that did not hold."""
        count = self.count
        promises = [
            (count.calls > 0, "there was not one call"),
            (count.errors == 0, f"{count.errors} calls failed; the first: {self.trouble}"),
            (self.strangers == 0, f"{self.strangers} answers were somebody else's"),
            (self.run_twice == 0, f"the server ran {self.run_twice} calls more than were made"),
            (
                count.made == self.users + self.swept_early,
                f"{count.made} connections were made for {self.users} users",
            ),
            (count.swept == count.made, f"{count.swept} of {count.made} connections were swept"),
            (self.connections_left == 0, f"{self.connections_left} connections are left"),
            (
                self.threads_of_connections == 0,
                f"the idle connections own threads: {', '.join(self.idle_threads)}",
            ),
        ]
        return [failure for held, failure in promises if not held]

    def rows(self) -> list[tuple[str, str]]:
        """Return the table for people."""
        count = self.count
        return [
            ("calls", f"{count.calls} in {self.seconds:.1f} s, {self._rate():.0f} a second"),
            ("time of a call", f"p50 {milliseconds(count.p50)}, p99 {milliseconds(count.p99)}"),
            ("of a first call", f"p50 {milliseconds(count.first)}: all connect at the same time"),
            ("errors", str(count.errors)),
            ("users, threads", f"{self.users}, {self.threads}"),
            ("connections made", f"{count.made}: one for each user, however many threads ask"),
            ("callers coalesced", f"{count.joined}: they waited for one being made"),
            ("connections reused", f"{count.reused} times"),
            ("swept when idle", f"{count.swept}, by one daemon thread"),
            ("threads of idle connections", str(self.threads_of_connections)),
            ("sockets open when idle", f"{self.sockets}, the process's, shared by all users"),
            ("answers of another user", f"{self.strangers}: session, cookie, header, sum compared"),
            ("calls run twice", str(self.run_twice)),
        ]

    def _rate(self) -> float:
        return self.count.calls / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return everything, for programs."""
        count = asdict(self.count)
        del count["connected"]
        own = {name: value for name, value in asdict(self).items() if name != "count"}
        return {
            **own,
            **count,
            "calls_per_second": round(self._rate(), 1),
            "threads_of_connections": self.threads_of_connections,
            "failures": self.failures(),
        }
