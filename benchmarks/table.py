"""The report as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from report import Figure, Ratio, Report

VERDICTS = {None: "", True: "met", False: "MISSED"}


def render(report: Report) -> str:
    """Return the whole report."""
    parts = [
        _environment(report),
        _calls(report),
        _others(report),
        _ratios(report),
        _failures(report),
        _summary(report),
    ]
    return "\n\n".join(part for part in parts if part)


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], left: int = 1) -> str:
    """Return columns of text; the first *left* are flush left, the others flush right."""
    lines = [list(head), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _environment(report: Report) -> str:
    lines = [f"{key}: {value}" for key, value in report.environment.items()]
    return "\n".join(lines + [f"note: {note}" for note in report.notes])


def _calls(report: Report) -> str:
    blocks = []
    calls = [figure for figure in report.figures if figure.measure == "call p50"]
    for variant in dict.fromkeys(figure.variant for figure in calls):
        rows = []
        for who in (figure.who for figure in calls if figure.variant == variant):
            found = [
                report.figure(f"call {column}", variant, who)
                for column in ("p50", "p99", "CPU", "threads")
            ]
            rows.append([who, *(_number(figure) for figure in found)])
        head = [f"tools/call, {variant}", "p50 ms", "p99 ms", "CPU ms", "threads calls/s"]
        blocks.append(grid(head, rows))
    return "\n\n".join(blocks)


def _others(report: Report) -> str:
    rows = [
        [
            figure.measure,
            figure.variant,
            figure.who,
            f"{figure.value:.2f} {figure.unit}",
            f"{figure.low:.2f} - {figure.high:.2f}",
            "" if figure.goal is None else f"<= {figure.goal:g}",
            VERDICTS[figure.met],
        ]
        for figure in report.figures
        if not figure.measure.startswith("call ")
    ]
    head = ["figure", "variant", "who", "median", "spread", "goal", ""]
    return grid(head, rows, left=3) if rows else ""


def _ratios(report: Report) -> str:
    measures = dict.fromkeys(ratio.measure for ratio in report.ratios)
    order = {measure: number for number, measure in enumerate(measures)}
    rows = [
        [
            ratio.measure,
            ratio.variant,
            f"{ratio.who} / {ratio.to}",
            f"{ratio.value:.2f}",
            f"{ratio.low:.2f} - {ratio.high:.2f}",
            _goal(ratio),
            VERDICTS[ratio.met],
        ]
        for ratio in sorted(report.ratios, key=lambda ratio: order[ratio.measure])
    ]
    head = ["ratio", "variant", "of / to", "median", "spread", "goal", ""]
    return grid(head, rows, left=3) if rows else ""


def _failures(report: Report) -> str:
    rows = [
        [failure.measure, failure.variant, failure.who, failure.reason[:200]]
        for failure in report.failures
    ]
    return grid(["FAILED", "variant", "who", "reason"], rows, left=4) if rows else ""


def _summary(report: Report) -> str:
    verdicts = [figure.met for figure in report.figures] + [ratio.met for ratio in report.ratios]
    met, missed = verdicts.count(True), verdicts.count(False)
    return f"goals: {met} met, {missed} missed; {len(report.failures)} could not be measured"


def _goal(ratio: Ratio) -> str:
    if ratio.goal is None:
        return ""
    return f"{'>=' if ratio.at_least else '<='} {ratio.goal:g}"


def _number(figure: Figure | None) -> str:
    if figure is None:
        return "-"
    return f"{figure.value:.0f}" if figure.unit == "calls/s" else f"{figure.value:.3f}"
