"""DINO-X and Grounding DINO 1.5 and 1.6 through their makers' HTTP API: pictures are sent away.

The token comes from the environment (``DDS_API_TOKEN``) and is never written anywhere. A picture
is sent as a JPEG no larger than the API itself would make it, and boxes are scaled back. Prompts
go as one text, "cat.traffic light"; an answer names the prompt that it means.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

import numpy as np

from autolabel.errors import InputError, UsageError
from autolabel.ground.dds_client import Client
from autolabel.ground.dds_wire import encoded, object_of
from autolabel.ground.spans import normalise, to_proposals
from autolabel.types import Image, Proposals

LOG = logging.getLogger(__name__)
ADDRESS = "https://api.deepdataspace.com"
TOKEN = "DDS_API_TOKEN"
OVERLAP = 0.8
"""IoU at which the API takes two boxes for one."""
MAX_TEXT = 2000
"""Characters of all prompts together."""


class DinoX:
    """A Grounder that asks DINO-X."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "the strongest on odd and rare things; pictures are sent away, costs money",
        "supports": ["text", "scores"],
        "checkpoints": [["DINO-X-1.0", "proprietary (API)", ""]],
        "needs": "an account at deepdataspace.com, its token in DDS_API_TOKEN",
        "env": "DDS_API_TOKEN",
        "notice": "every picture is SENT to api.deepdataspace.com (or DDS_API_URL) and costs one "
        "request; --max-requests is a limit.",
    }
    PATH = "/v2/task/dinox/detection"

    def __init__(
        self, model: str, *, device: str, dtype: str, client: Client | None = None
    ) -> None:
        """Take the token from the environment; nothing is sent yet.

        Raises:
            UsageError: If there is no token, or a setting in the environment makes no sense.
        """
        self._model = model
        self._client = client or Client(os.environ.get("DDS_API_URL", ADDRESS), _token())

    def allow(self, most: int) -> None:
        """Send no more than so many tasks."""
        self._client.most = most

    @property
    def requests(self) -> int:
        """How many tasks were sent: what the account is charged for."""
        return self._client.sent

    def fingerprint(self) -> str:
        """Return the model's name: what runs behind it, only its makers know."""
        return f"dds {self.PATH} {self._model}"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        """Return no warnings; sends nothing.

        Raises:
            UsageError: If prompts are empty or together too long.
        """
        texts = [normalise(prompt) for prompt in prompts]
        if blank := [prompt for prompt, text in zip(prompts, texts, strict=True) if not text]:
            raise UsageError(f"prompt '{blank[0]}' has no words")
        if len(".".join(texts)) > MAX_TEXT:
            raise UsageError(f"the prompts have more than {MAX_TEXT} characters together")
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        """Return one Proposals a picture; sends each of them.

        Raises:
            ServiceError: If the token is refused, --max-requests is reached, or the service
                fails for longer than it is waited for.
            InputError: If this picture's task fails, or its answer makes no sense.
        """
        if not prompts:
            return [Proposals.empty(0) for _ in images]
        return [self._one(image, prompts, floor) for image in images]

    def _one(self, image: Image, prompts: Sequence[str], floor: float) -> Proposals:
        texts = sorted({normalise(prompt) for prompt in prompts})
        data, across, down = encoded(image)
        body = {
            "model": self._model,
            "image": data,
            "prompt": {"type": "text", "text": ".".join(texts)},
            "targets": ["bbox"],
            "bbox_threshold": min(1.0, floor),
            "iou_threshold": OVERLAP,
        }
        objects = self._client.run(self.PATH, body).get("objects")
        if not isinstance(objects, list):
            raise InputError("the API's result has no list of objects")
        LOG.info("%s: %d requests so far", self._model, self._client.sent)
        boxes = np.zeros((len(objects), 4), np.float32)
        scores = np.zeros((len(objects), len(prompts)), np.float32)
        columns = [normalise(prompt) for prompt in prompts]
        for row, found in enumerate(objects):
            box, score, name = object_of(found)
            boxes[row] = np.array(box) * [across, down, across, down]
            scores[row] = [score if name == column else 0.0 for column in columns]
        height, width = image.shape[:2]
        return to_proposals(boxes, scores, max(floor, 1e-6), height, width)


class GroundingDino15(DinoX):
    """A Grounder that asks Grounding DINO 1.5 or 1.6."""

    CARD = {
        "licence": "Apache-2.0",
        "advice": "Grounding DINO's successor; pictures are sent away, costs money",
        "supports": ["text", "scores"],
        "checkpoints": [
            ["GroundingDino-1.5-Pro", "proprietary (API)", ""],
            ["GroundingDino-1.6-Pro", "proprietary (API)", ""],
        ],
        "needs": "an account at deepdataspace.com, its token in DDS_API_TOKEN",
        "env": "DDS_API_TOKEN",
        "notice": "every picture is SENT to api.deepdataspace.com (or DDS_API_URL) and costs one "
        "request; --max-requests is a limit.",
    }
    PATH = "/v2/task/grounding_dino/detection"


def _token() -> str:
    """Return the token; one line of visible characters, or it would forge a header."""
    token = os.environ.get(TOKEN, "").strip()
    if not token or not token.isprintable() or not token.isascii():
        raise UsageError(f"set the environment variable {TOKEN} to the token of your account")
    return token
