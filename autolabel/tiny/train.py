"""Training and measuring the bundled pair: ``python -m autolabel.tiny.train COMMAND --help``."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

COMMANDS = {
    "detector": "autolabel.tiny.train_detector:main",
    "segmenter": "autolabel.tiny.train_segmenter:main",
    "tracker": "autolabel.tiny.train_tracker:main",
    "eval-detector": "autolabel.tiny.eval_detector:main",
    "eval-segmenter": "autolabel.tiny.segmenter_eval:eval_segmenter",
    "eval-tracker": "autolabel.tiny.segmenter_eval:eval_tracker",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Hands the arguments after the command's name to the module that knows it."""
    given = list(sys.argv[1:] if argv is None else argv)
    if not given or given[0] not in COMMANDS:
        sys.exit(f"usage: python -m autolabel.tiny.train {{{','.join(COMMANDS)}}} ...")
    module, function = COMMANDS[given[0]].split(":")
    getattr(importlib.import_module(module), function)(given[1:])


if __name__ == "__main__":
    main()
