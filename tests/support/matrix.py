"""The table of servers and steps that tests/real prints at its end."""

FAILED = "FAILED"


class Table:
    """How each server answered each step, in the order of their coming."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, str]] = {}
        self._steps: dict[str, None] = {}

    def begin(self, server: str, step: str) -> None:
        """A step begins; unless something else is noted, it failed."""
        self._steps.setdefault(step)
        self.note(server, step, FAILED)

    def note(self, server: str, step: str, answer: str) -> None:
        """Note how *server* answered."""
        self._cells.setdefault(server, {})[step] = answer

    def lines(self) -> list[str]:
        """The table, a line for each step and a column for each server; none if none was there."""
        if not self._cells:
            return []
        widest = max(map(len, self._steps))
        widths = [
            max(len(answer) for answer in (str(number), *cells.values()))
            for number, cells in enumerate(self._cells.values(), 1)
        ]
        heads = [f"{number:>{width}}" for number, width in enumerate(widths, 1)]
        lines = [f"{number:>3} {server}" for number, server in enumerate(self._cells, 1)]
        lines += ["", "  ".join([" " * widest, *heads])]
        for step in self._steps:
            answers = [cells.get(step, "") for cells in self._cells.values()]
            row = [f"{answer:>{width}}" for answer, width in zip(answers, widths, strict=True)]
            lines.append("  ".join([f"{step:{widest}}", *row]))
        return lines


TABLE = Table()
