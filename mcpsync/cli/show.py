"""Answers for people: tables on a terminal, lines with tabs on a pipe."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click
from mcp_types import CallToolResult, Prompt, Resource, ResourceTemplate, Tool
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .text import as_json, one_line, printable
from .waiting import is_terminal

Row = Sequence[str]


def show_rows(headings: Row, rows: Iterable[Row], nothing: str) -> None:
    """Print a table on a terminal; on a pipe a line for each row, with tabs and no headings.

    Args:
        headings: What is above the columns.
        rows: The cells; they may hold anything a server says.
        nothing: What to say on a terminal when there are no rows.
    """
    cleaned = [[one_line(cell) for cell in row] for row in rows]
    if not is_terminal(sys.stdout):
        for row in cleaned:
            click.echo("\t".join(row))
        return
    if not cleaned:
        click.echo(nothing)
        return
    table = Table(*headings, box=box.SIMPLE_HEAD, show_header=any(headings), pad_edge=False)
    table.columns[0].style = "bold"
    table.columns[0].overflow = "fold"
    for row in cleaned:
        table.add_row(*(Text(cell) for cell in row))  # a Text, in which [red] is but text
    Console(file=sys.stdout).print(table)


def tool_row(tool: Tool) -> Row:
    """Name, arguments, description."""
    return tool.name, signature(tool.input_schema), tool.description or tool.title or ""


def resource_row(resource: Resource) -> Row:
    """URI, name, type, description."""
    about = resource.description or resource.title or ""
    return str(resource.uri), resource.name, resource.mime_type or "", about


def template_row(template: ResourceTemplate) -> Row:
    """URI template, name, type, description."""
    about = template.description or template.title or ""
    return template.uri_template, template.name, template.mime_type or "", about


def prompt_row(prompt: Prompt) -> Row:
    """Name, arguments, description."""
    arguments = [f"{item.name}{'' if item.required else '?'}" for item in prompt.arguments or ()]
    return prompt.name, ", ".join(arguments), prompt.description or prompt.title or ""


def signature(schema: Mapping[str, Any]) -> str:
    """Return the arguments of a tool in short: ``seconds: number, steps?: integer``."""
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, Mapping):
        return ""
    needed = required if isinstance(required, list) else []
    return ", ".join(
        f"{name}{'' if name in needed else '?'}: {_type_of(value)}"
        for name, value in properties.items()
    )


def _type_of(schema: object) -> str:
    if not isinstance(schema, Mapping):
        return "any"
    kind = schema.get("type", "any")
    return "|".join(map(str, kind)) if isinstance(kind, list) else str(kind)


def show_facts(facts: Mapping[str, Any]) -> None:
    """Print what a server says of itself."""
    info = facts["serverInfo"] or {}
    name = " ".join(str(info[key]) for key in ("title", "name", "version") if key in info)
    rows = [
        ("server", facts["server"]),
        ("calls itself", name or "nothing"),
        ("protocol", facts["protocolVersion"]),
        ("can do", ", ".join(facts["capabilities"]) or "nothing"),
        ("instructions", facts["instructions"] or "none"),
    ]
    show_rows(("", ""), rows, "")


def show_result(result: CallToolResult) -> None:
    """Print what a tool answered: its texts as they are, the rest in brackets."""
    blocks = [_block(block) for block in result.content]
    if not blocks and result.structured_content is not None:
        blocks = [as_json(result.structured_content)]
    for block in blocks:
        click.echo(block)


def _block(block: Any) -> str:
    if block.type == "text":
        return printable(block.text)
    if block.type in ("image", "audio"):
        return f"[{block.type} {one_line(block.mime_type)}, {len(block.data) * 3 // 4} bytes]"
    if block.type == "resource_link":
        return f"[resource {one_line(str(block.uri))}]"
    if block.type == "resource":
        text = getattr(block.resource, "text", None)
        uri = one_line(str(block.resource.uri))
        return printable(text) if text is not None else f"[resource {uri}]"
    return one_line(json.dumps(block.model_dump(mode="json", by_alias=True, exclude_none=True)))
