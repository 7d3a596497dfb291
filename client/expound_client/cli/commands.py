"""The list of all commands."""

import click

from expound_client.cli.explain import explain
from expound_client.cli.launch import server, up, worker
from expound_client.cli.methods import methods
from expound_client.cli.models import models
from expound_client.cli.watch import watch


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="expound")
def commands() -> None:
    """Explains the predictions of image models."""


for command in (up, server, worker, models, methods, explain, watch):
    commands.add_command(command)
