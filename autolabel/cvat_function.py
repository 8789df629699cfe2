r"""Labels from inside CVAT: an auto-annotation function with an ontology.

    cvat-cli task auto-annotate 12 --function-module autolabel.cvat_function \
        -p ontology=str:classes.yaml -p models=str:small

``--function-file`` with this file's path does the same. The labels of the CVAT task are matched
by name with the ontology's classes. Masks are sent as masks, or as polygons with
``--conv-mask-to-poly``; with ``-p segmenter=str:none`` boxes are. Needs ``cvat-sdk``.
"""

from __future__ import annotations

import logging
from typing import Any

import cvat_sdk.auto_annotation as cvataa
import PIL.Image
from cvat_sdk.masks import encode_mask

from autolabel import masks, registry
from autolabel.config import DEFAULT_FLOOR, RunConfig
from autolabel.crew import load_stages
from autolabel.errors import UsageError
from autolabel.media.pictures import displayed
from autolabel.ontology import Ontology, load_ontology
from autolabel.pipeline import Question, Stages, label_images
from autolabel.types import Instance

LOG = logging.getLogger(__name__)


def create(
    ontology: str = "",
    models: str = "base",
    grounder: str = "",
    segmenter: str = "",
    device: str = "auto",
    floor: float = DEFAULT_FLOOR,
) -> OntologyFunction:
    """Return the function that CVAT calls; its parameters are those of ``-p NAME=TYPE:VALUE``.

    Args:
        ontology: The YAML file of prompts and classes.
        models: Preset: base, small or tiny.
        grounder: Model spec in place of the preset's.
        segmenter: Model spec in place of the preset's; "none" for boxes.
        device: "auto", "cpu", "cuda" or "cuda:N".
        floor: Candidates that score less are not looked at.

    Raises:
        UsageError: If there is no ontology, or a parameter makes no sense.
        WeightsError: If weights can't be had.
    """
    if not ontology:
        raise UsageError("say which classes: -p ontology=str:classes.yaml")
    preset = registry.preset(models)
    config = RunConfig(
        grounder or preset.grounder, segmenter or preset.segmenter, device, floor=floor
    )
    chosen = load_ontology(ontology)
    stages = load_stages(config, chosen)
    for warning in stages.grounder.check_prompts(chosen.prompts):
        LOG.warning("%s", warning)
    return OntologyFunction(chosen, stages, floor)


class OntologyFunction:
    """What CVAT calls for each frame: a ``cvat_sdk.auto_annotation.DetectionFunction``."""

    def __init__(self, ontology: Ontology, stages: Stages, floor: float = DEFAULT_FLOOR) -> None:
        self._stages = stages
        self._question = Question(ontology, ontology.prompts, floor)
        kind = "rectangle" if stages.segmenter is None else "mask"
        self._spec = cvataa.DetectionFunctionSpec(
            labels=[
                cvataa.label_spec(name, number, type=kind)
                for number, name in enumerate(ontology.class_names)
            ]
        )

    @property
    def spec(self) -> cvataa.DetectionFunctionSpec:
        """The ontology's classes, numbered in their order."""
        return self._spec

    def detect(
        self, context: cvataa.DetectionFunctionContext, image: PIL.Image.Image
    ) -> list[cvataa.DetectionAnnotation]:
        """Return one shape an object.

        Args:
            context: ``conf_threshold`` drops labels that score less, beyond the ontology's own
                thresholds; ``conv_mask_to_poly`` asks for polygons.
            image: The frame.
        """
        (found,) = label_images([displayed(image)], self._question, self._stages)
        least = context.conf_threshold
        kept = [one for one in found.instances if _passes(one, least)]
        shapes = [self._shape(one, context.conv_mask_to_poly) for one in kept]
        return [shape for shape in shapes if shape is not None]

    def _shape(self, one: Instance, as_polygon: bool) -> Any:
        """Return an object's shape; None where no mask was made of it."""
        if self._stages.segmenter is None:
            return cvataa.rectangle(one.class_id, list(one.box))
        if one.mask is None:
            LOG.info("an object of class %d has an empty mask: left out", one.class_id)
            return None
        if not as_polygon:
            return cvataa.mask(one.class_id, encode_mask(masks.decode(one.mask)))
        return cvataa.polygon(one.class_id, [float(v) for v in masks.bridged_ring(one.mask)])


def _passes(one: Instance, least: float | None) -> bool:
    """Return whether a label scores enough; one without a score does."""
    return least is None or one.score is None or one.score >= least
