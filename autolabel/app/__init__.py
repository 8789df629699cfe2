"""The page to try it: upload, describe, watch it labelled (``autolabel app``).

    page (Gradio) -> desk (one visitor's folder, inputs and results) -> jobs -> worker

Work runs in a child process of its own (``worker``), so that a crash costs one job and a cancel
is immediate; the page calls the same ``autolabel.api`` as the command line.
"""
