"""`expound explain`: explains images, shows how far it is, and writes pictures and a report."""

import asyncio
from contextlib import suppress
from pathlib import Path

import click

from expound.v1 import method_pb2
from expound_client.aio import AsyncClient
from expound_client.cli.connection import Connection, connection_options
from expound_client.cli.console import echo, plain_console, visible
from expound_client.cli.interrupts import run
from expound_client.cli.method_option import MethodOption
from expound_client.cli.outputs import result_table, warnings, with_files, write
from expound_client.cli.progress import follow
from expound_client.errors import ExpoundError, InvalidArgumentError
from expound_client.results import ExplanationResult, State


@click.command()
@click.argument("images", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False))
@click.option(
    "-m",
    "--method",
    "methods",
    multiple=True,
    required=True,
    type=MethodOption(),
    help="How to explain; can be given several times. `expound methods` lists them.",
)
@click.option("--model", metavar="MODEL", help="Model. Default: the only one, if there is one.")
@click.option(
    "--target",
    default="top1",
    show_default=True,
    help="What to explain: top1, top3…, a class index or a label, of those in "
    "`expound models NAME`.",
)
@click.option(
    "--true-label",
    "true_labels",
    multiple=True,
    metavar="LABEL",
    help="What an image really shows, one for each in their order; written in grid.png.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    default="expound-output",
    show_default=True,
    help="Folder for overlays, error bars, grid.png and report.html.",
)
@click.option("--timeout", "timeout_s", type=float, help="Seconds that the work may take.")
@click.option("--fresh", is_flag=True, help="Work on it anew, even if it has been answered before.")
@connection_options
def explain(
    connection: Connection,
    images: tuple[str, ...],
    methods: tuple[method_pb2.Method, ...],
    model: str | None,
    target: str,
    true_labels: tuple[str, ...],
    seed: int,
    out: Path,
    timeout_s: float | None,
    fresh: bool,
) -> int:
    """Explain what a model sees in IMAGES."""
    if true_labels and len(true_labels) != len(images):
        raise click.UsageError(f"give --true-label once for each of the {len(images)} images")
    explained = _explain(
        connection,
        list(images),
        model=model,
        methods=methods,
        target=int(target) if target.isdecimal() else target,
        seed=seed,
        timeout_s=timeout_s,
        fresh=fresh,
    )
    # Ctrl-C is a cancel of the task then, and never an exception in the midst of gRPC.
    try:
        result = run(explained)
    except InvalidArgumentError as refusal:
        raise InvalidArgumentError(with_files(str(refusal), images)) from refusal
    console = plain_console()
    console.print(result_table(result, images))
    for warning in warnings(result, images):
        echo(warning, err=True)
    for key, error in result.errors.items():
        echo(f"{key} failed: {with_files(str(error), images)}", err=True)
    written = write(result, images, true_labels, out)
    console.print(
        f"{len(written)} files in {out}: report.html, grid.png and the pictures", highlight=False
    )
    return 0 if result.state == State.SUCCEEDED else 1


async def _explain(
    connection: Connection,
    images: list[str],
    *,
    model: str | None,
    methods: tuple[method_pb2.Method, ...],
    target: str | int,
    seed: int,
    timeout_s: float | None,
    fresh: bool,
) -> ExplanationResult:
    async with connection.open_aio() as client:
        explanation = await client.explain(
            images,
            model=model or await _only_model(client),
            methods=methods,
            target=target,
            seed=seed,
            timeout_s=timeout_s,
            fresh=fresh,
        )
        try:
            await follow(explanation)
        except asyncio.CancelledError:
            with suppress(ExpoundError):
                await explanation.cancel()
            raise
        return await explanation.result(partial=True)


async def _only_model(client: AsyncClient) -> str:
    """The model to take when none is named. Raises UsageError unless there is exactly one."""
    names = [model.name for model in await client.models()]
    if len(names) != 1:
        listed = ", ".join(names) or "none is served now"
        raise click.UsageError(f"give the model with --model; there are: {visible(listed)}")
    return names[0]
