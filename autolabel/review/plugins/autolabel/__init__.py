"""The review's buttons in the FiftyOne app; what they do is in ``autolabel.review.acts``."""

from __future__ import annotations

import os
from typing import Any

import fiftyone.operators as foo
from fiftyone.operators import types

from autolabel.errors import AutolabelError
from autolabel.review import acts

SHOWN = 20
"""Failed inputs that are listed."""
BUTTONS = {
    "accept": ("Accept (Shift+A)", "check_circle"),
    "reject": ("Reject (Shift+X)", "cancel"),
    "next_pending": ("Next pending (Shift+N)", "skip_next"),
    "undo": ("Undo the last act (Shift+U)", "undo"),
}


class _Act(foo.Operator):  # type: ignore[misc]
    """One act: its name is the operator's name, and its button the one of that name."""

    name_ = label_ = about_ = ""
    open_ = False
    """Whether this is the button beside an open picture; the same act has one on the grid."""

    @property
    def config(self) -> Any:
        """Return how the app lists this operator."""
        return foo.OperatorConfig(
            name=f"{self.name_}_open" if self.open_ else self.name_,
            label=f"autolabel: {self.label_}",
            description=self.about_,
            dynamic=True,
            unlisted=self.open_,
        )

    def resolve_placement(self, ctx: Any) -> Any:
        """Return the button."""
        if self.name_ not in BUTTONS:
            return None
        label, icon = BUTTONS[self.name_]
        place = (
            types.Places.SAMPLES_VIEWER_ACTIONS
            if self.open_
            else types.Places.SAMPLES_GRID_SECONDARY_ACTIONS
        )
        return types.Placement(place, types.Button(label=label, icon=icon, prompt=False))

    def execute(self, ctx: Any) -> dict[str, Any]:
        """Do it; say what was done, or why not."""
        try:
            said = self.act(ctx)
        except AutolabelError as error:
            ctx.ops.notify(str(error), variant="error")
            return {"said": str(error)}
        if said:
            ctx.ops.notify(said, variant="success")
            ctx.ops.reload_samples()
        return {"said": said}

    def act(self, ctx: Any) -> str:
        """Return what was done, in words."""
        raise NotImplementedError


def _form(label: str, button: str, caption: str | None = None) -> tuple[Any, Any]:
    """Return an empty form and its frame, with the name of the button that does it."""
    inputs = types.Object()
    if caption:
        inputs.view("about", types.Notice(label=caption))
    return inputs, types.PromptView(label=label, submit_button_label=button)


class Accept(_Act):
    """Accepts the labels that are selected; else all of the open or selected pictures."""

    name_, label_ = "accept", "accept"
    about_ = "The selected labels, else all pending ones of the open or selected pictures"

    def act(self, ctx: Any) -> str:
        """Return how many were accepted."""
        return acts.set_review(ctx, "accepted")


class Reject(_Act):
    """Rejects the labels that are selected; else all of the open or selected pictures."""

    name_, label_ = "reject", "reject"
    about_ = "The selected labels, else all pending ones of the open or selected pictures"

    def act(self, ctx: Any) -> str:
        """Return how many were rejected."""
        return acts.set_review(ctx, "rejected")


class AcceptAbove(_Act):
    """Accepts every pending label from a score on; says how many first."""

    name_, label_ = "accept_above", "accept all above a score"

    def resolve_input(self, ctx: Any) -> Any:
        """Ask for the score, and say how many labels that is."""
        asked = ctx.params.get("score")
        inputs, view = _form("Accept all pending labels from this score on?", "Accept")
        inputs.float("score", default=0.8, min=0, max=1, label="Score", required=True)
        count = acts.count_above(ctx, 0.8 if asked is None else float(asked))
        inputs.view("count", types.Warning(label=f"{count} pending labels would be accepted"))
        return types.Property(inputs, view=view)

    def act(self, ctx: Any) -> str:
        """Return how many were accepted."""
        return acts.accept_above(ctx, float(ctx.params["score"]))


class ChangeClass(_Act):
    """Gives the selected labels another class."""

    name_, label_ = "change_class", "change class"

    def resolve_input(self, ctx: Any) -> Any:
        """Ask for the class."""
        problem = acts.why_no_class(ctx)
        inputs, view = _form("Class of the selected labels", "Change")
        if problem:
            inputs.view("problem", types.Error(label=problem), invalid=True, error_message=problem)
            return types.Property(inputs, view=view)
        inputs.enum("label", acts.class_names(ctx), label="Class", required=True)
        if ctx.dataset.media_type == "video":
            inputs.bool("track", default=True, label="In all frames of the track")
        return types.Property(inputs, view=view)

    def act(self, ctx: Any) -> str:
        """Return how many were changed."""
        return acts.change_class(ctx, str(ctx.params["label"]), bool(ctx.params.get("track", True)))


class NextPending(_Act):
    """Opens the next picture that has pending labels."""

    name_, label_ = "next_pending", "next pending"

    def act(self, ctx: Any) -> str:
        """Open it; return what to say where there is none."""
        sample = acts.next_pending(ctx)
        if sample is None:
            ctx.ops.notify("No picture has pending labels any more", variant="success")
            return ""
        ctx.ops.open_sample(id=sample)
        return ""


class Undo(_Act):
    """Takes the last act back."""

    name_, label_ = "undo", "undo the last act"

    def act(self, ctx: Any) -> str:
        """Return what was undone."""
        return acts.undo(ctx)


class Threshold(_Act):
    """Takes corrections home, selects the labels anew with another threshold, loads them."""

    name_, label_ = "threshold", "re-run with another threshold"

    def resolve_input(self, ctx: Any) -> Any:
        """Ask for class and threshold."""
        inputs, view = _form(
            "Select labels anew",
            "Select",
            "Corrections are pulled first, and what a human changed, accepted or rejected stays.",
        )
        names = [acts.EVERY, *acts.class_names(ctx)]
        inputs.enum("label", names, default=acts.EVERY, label="Class", required=True)
        inputs.float("threshold", default=0.3, min=0, max=1, label="Threshold", required=True)
        return types.Property(inputs, view=view)

    def act(self, ctx: Any) -> str:
        """Return how many labels there are then."""
        from autolabel import reviewing

        said = reviewing.rethreshold(
            os.environ["AUTOLABEL_PROJECT"],
            str(ctx.params["label"]),
            float(ctx.params["threshold"]),
        )
        ctx.ops.reload_dataset()
        return said


class Export(_Act):
    """Takes corrections home and writes the project's labels."""

    name_, label_ = "export", "export"

    def resolve_input(self, ctx: Any) -> Any:
        """Ask for format, status and folder."""
        from autolabel import reviewing

        inputs, view = _form("Export", "Export", "Corrections are pulled into the project first.")
        formats, statuses = reviewing.format_names(), ["all", "accepted", "pending"]
        inputs.enum("format", formats, default="coco", label="Format", required=True)
        inputs.enum("status", statuses, default="all", label="Labels", required=True)
        beside = reviewing.export_folder(os.environ["AUTOLABEL_PROJECT"], "")
        inputs.str("out", default=str(beside), label="Folder to write", required=True)
        inputs.bool("overwrite", default=False, label="Replace an earlier export there")
        return types.Property(inputs, view=view)

    def act(self, ctx: Any) -> str:
        """Return what was written."""
        from autolabel import reviewing

        return reviewing.pull_and_export(
            os.environ["AUTOLABEL_PROJECT"],
            str(ctx.params.get("format", "coco")),
            str(ctx.params.get("out") or ""),
            status=str(ctx.params.get("status", "all")),
            overwrite=bool(ctx.params.get("overwrite")),
        )


class Failures(_Act):
    """Lists the inputs that could not be labelled."""

    name_, label_ = "failures", "failed inputs"

    def resolve_input(self, ctx: Any) -> Any:
        """Show the list."""
        lines = acts.failures(os.environ["AUTOLABEL_PROJECT"])
        inputs, view = _form(f"{len(lines)} failed inputs" if lines else "No input failed", "Close")
        for number, line in enumerate(lines[:SHOWN]):
            inputs.view(f"line{number}", types.Notice(label=line))
        if len(lines) > SHOWN:
            rest = "the saved view '9 failed inputs' has all"
            inputs.view("more", types.Notice(label=f"and {len(lines) - SHOWN} more: {rest}"))
        return types.Property(inputs, view=view)

    def act(self, ctx: Any) -> str:
        """Return nothing: all was shown."""
        return ""


def register(plugin: Any) -> None:
    """Give the app the operators."""
    for one in (AcceptAbove, ChangeClass, Threshold, Export, Failures):
        plugin.register(one)
    for act in (Accept, Reject, NextPending, Undo):
        plugin.register(act)
        plugin.register(type(f"{act.__name__}Open", (act,), {"open_": True}))
