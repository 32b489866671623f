"""``mcpsync schema``: what a configuration may hold, for editors."""

from __future__ import annotations

import click

from .text import as_json


@click.command()
@click.option("--user", is_flag=True, help="Of what a user may send to have a server of their own.")
def schema(*, user: bool) -> None:
    """Print the JSON Schema of a configuration file.

    An editor that is told of it completes and checks mcpsync.yaml; see the reference.
    """
    from ..config.schema import file_schema, user_schema

    click.echo(as_json(user_schema() if user else file_schema()))
