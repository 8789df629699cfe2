"""The process that does one job of the page: label, draw or export, told in lines of JSON.

    python -m autolabel.app.worker [--warm]

It reads one request from standard input and answers on standard output. When standard input
ends early, the page is gone, and so is this process. It calls ``autolabel.api`` as the command
line does.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from autolabel.errors import AutolabelError

HEAVY = (
    "autolabel.api",
    "autolabel.draw",
    "autolabel.ground.grounding_dino",
    "autolabel.segment.sam2_image",
    "autolabel.track.loading",
    "autolabel.track.video",
    "autolabel.media.encoding",
)
"""What labelling needs; loaded by a warm worker while it waits."""

Tell = Callable[..., None]


def main() -> int:
    """Do one job; return the exit code."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print goes to the terminal, not between the answers
    lock = threading.Lock()
    request: dict[str, Any] = {}

    def tell(**message: Any) -> None:
        if "note" in message:
            message["note"] = plain(message["note"], request)
        with lock:
            answers.write(json.dumps(message) + "\n")
            answers.flush()

    if "--warm" in sys.argv[1:]:
        for name in HEAVY:
            importlib.import_module(name)
    line = sys.stdin.readline()
    if not line:
        return 0
    threading.Thread(target=_watch, daemon=True).start()
    request.update(json.loads(line))
    try:
        JOBS[request.pop("kind")](tell=tell, **request)
    except AutolabelError as error:
        tell(error=plain(str(error), request))
        return 1
    except Exception as error:
        traceback.print_exc()
        tell(error=f"This failed in a way that was not foreseen ({type(error).__name__}).")
        return 1
    return 0


def plain(text: str, request: dict[str, Any]) -> str:
    """Return a message without the folders that only this machine knows."""
    for name in ("inputs", "project", "out"):
        value = request.get(name, ())
        for path in [value] if isinstance(value, str) else value:
            text = text.replace(f"{Path(path).parent}{os.sep}", "")
    return text


def _watch() -> None:
    """End the process when the page is gone."""
    while os.read(0, 4096):  # not sys.stdin: its lock would be held when Python ends
        pass
    os._exit(1)


def label(
    *,
    tell: Tell,
    inputs: list[str],
    ontology: str,
    project: str,
    view: str,
    drawn: str,
    limits: dict[str, Any],
    options: dict[str, Any],
) -> None:
    """Label pictures or a video into a project, draw it, and prepare what the page shows."""
    from autolabel import api
    from autolabel.app.limits import Limits
    from autolabel.app.scene import write_scene
    from autolabel.app.watching import Watching
    from autolabel.ontology import parse_ontology

    chosen = parse_ontology(ontology)
    watching = Watching(tell, inputs, Path(project), Path(view), Limits(**limits))
    report = api.run(inputs, chosen, out=project, progress=watching, **options)
    watching.close()
    told = write_scene(Path(project), chosen, options.get("floor"), Path(view))
    told["failures"] = [
        [name, plain(reason, {"inputs": inputs}).removeprefix(f"{name}: ")]
        for name, reason in told["failures"]
    ]
    if report.done:
        draw(tell=tell, project=project, drawn=drawn, total=watching.seen)
    tell(result={**told, "seconds": report.seconds})


def draw(*, tell: Tell, project: str, drawn: str, total: int) -> None:
    """Draw the labels of a project on its pictures and videos."""
    from autolabel import api

    done = 0

    def one_more() -> None:
        nonlocal done
        done += 1
        tell(done=done)

    tell(stage="draw", done=0, total=total)
    report = api.render(project, drawn, overwrite=True, drawn=one_more)
    for line in report.missing:
        tell(note=f"not drawn: {line}")


def export(*, tell: Tell, project: str, format_name: str, images: str, out: str) -> None:
    """Export a project and zip it to ``out``.zip."""
    from autolabel import api

    tell(stage="write")
    report = api.export(project, format_name, out, images=images, overwrite=True)
    archive = shutil.make_archive(out, "zip", out)
    shutil.rmtree(out)
    counts = {"pictures": report.pictures, "instances": report.instances}
    tell(result={"file": archive, "notes": list(report.notes), **counts})


JOBS: dict[str, Callable[..., None]] = {"label": label, "draw": draw, "export": export}

if __name__ == "__main__":
    sys.exit(main())
