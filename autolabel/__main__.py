"""``python -m autolabel`` is the command line."""

from autolabel.cli import main

main()
