"""The command line: parses, calls the library, prints. Nothing else prints or exits.

Exit codes: 0 all done, 1 the command or its surroundings are wrong, 3 done but some inputs
failed, 130 interrupted.

Command modules import click alone at their top, so that ``autolabel --help`` is instant.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from autolabel.cli import (
    app,
    calibrate,
    check_plugin,
    evaluate,
    export,
    history,
    import_,
    info,
    models,
    negatives,
    render,
    report,
    review,
    run,
    scenes,
    suggest,
    try_,
    verify,
)
from autolabel.errors import AutolabelError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(context_settings=CONTEXT)
@click.version_option(package_name="autolabel", message="%(prog)s %(version)s")
def cli() -> None:
    r"""Text in, labelled data set out.

    \b
    autolabel run --ontology classes.yaml images/     label a folder of pictures
    autolabel info autolabel-out                      what was found
    autolabel export autolabel-out --format coco --out coco/
    """


for _command in (
    run.run,
    app.app,
    info.info,
    export.export,
    verify.verify,
    import_.import_,
    render.render,
    review.review,
    history.history,
    evaluate.evaluate,
    calibrate.calibrate,
    report.report,
    suggest.suggest,
    negatives.negatives,
    try_.try_,
    models.models,
    check_plugin.check_plugin,
    scenes.scenes,
):
    cli.add_command(_command)


def main(argv: list[str] | None = None) -> NoReturn:
    """Run the command line and exit with its code: errors become one message here."""
    try:
        code = cli.main(args=argv, prog_name="autolabel", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = 1
    except AutolabelError as error:
        click.echo(f"error: {error}", err=True)
        code = error.exit_code
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        os._exit(130)  # at once: exiting in order would wait for the models' threads
    except click.Abort:
        click.echo("interrupted", err=True)
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
