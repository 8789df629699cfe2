"""Every bundled adapter keeps the promises of its kind; adapters that don't are found out."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel import registry
from autolabel.conformance import CHECKS, Case, check
from autolabel.formats import FORMATS, writer_class
from autolabel.ground import florence2
from autolabel.ground.dds_api import DinoX
from autolabel.ground.dds_client import Client, Manners
from autolabel.types import Image, Proposals
from tests.adapters.dds_server import TOKEN, Service, serve
from tests.fakes import Ellipses

MODELS = [
    ("grounder", "grounding-dino", "tiny"),
    ("grounder", "mm-grounding-dino", "mm_grounding_dino"),
    ("grounder", "owlv2", "owlv2"),
    ("grounder", "omdet-turbo", "omdet_turbo"),
    ("grounder", "florence-2", "florence2"),
    ("grounder", "sam3", "sam3"),
    ("segmenter", "sam2", "tiny"),
    ("segmenter", "sam3", "sam3"),
    ("segmenter", "edgetam", "edgetam"),
    ("tracker", "sam2", "tiny"),
    ("tracker", "sam3", "sam3"),
    ("tracker", "edgetam", "edgetam"),
]
CASES = [
    pytest.param(*model, one, id=f"{model[0]}-{model[1]}-{one.__name__}")
    for model in MODELS
    for one in CHECKS[model[0]]
]


@pytest.fixture(scope="module")
def loaded(made: Callable[[str], Path]) -> Callable[[str, str, str], Any]:
    known: dict[tuple[str, str], Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(florence2, "LONGEST", 10)  # random words don't come to an end
        patch.setattr(florence2, "BEAMS", 1)

    def load(kind: str, name: str, maker: str) -> Any:
        if (kind, name) not in known:
            where = "tiny" if maker == "tiny" else made(maker)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(florence2, "LONGEST", 10)
                known[kind, name] = registry.load(f"{name}:{where}", kind, "cpu")  # type: ignore[arg-type]
        return known[kind, name]

    return load


@pytest.mark.parametrize(("kind", "name", "maker", "one"), CASES)
def test_a_bundled_model_keeps_its_promise(
    kind: str,
    name: str,
    maker: str,
    one: Callable[[Case], None],
    loaded: Callable[[str, str, str], Any],
) -> None:
    scores = "scores" in registry.card_of(name, kind).supports  # type: ignore[arg-type]
    one(Case(loaded(kind, name, maker), ("cat", "traffic light", "red circle"), scores))


@pytest.mark.parametrize("one", CHECKS["segmenter"], ids=lambda one: one.__name__)
@pytest.mark.parametrize("kind", ["point", "mask"])
def test_a_segmenter_shown_objects_again_keeps_its_promise(
    kind: str, one: Callable[[Case], None], loaded: Callable[[str, str, str], Any]
) -> None:
    plain = loaded("segmenter", "edgetam", "edgetam")
    one(Case(plain.prompted(kind), ("cat",), True))


def test_points_and_masks_are_shown_in_place_of_boxes(
    loaded: Callable[[str, str, str], Any],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    boxes = np.array([[5, 9, 90, 80], [40, 30, 150, 110]], np.float32)
    for name in ("edgetam", "sam3"):
        plain = loaded("segmenter", name, name)
        ways = [
            plain.prompted(kind).segment([image], [boxes])[0] for kind in ("box", "point", "mask")
        ]
        assert ways[0].masks == plain.segment([image], [boxes])[0].masks
        assert len({tuple(one.scores.tolist()) for one in ways}) == 3, name


def test_random_models_find_enough_for_the_checks_to_mean_something(
    loaded: Callable[[str, str, str], Any],
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for name, maker in (("owlv2", "owlv2"), ("omdet-turbo", "omdet_turbo"), ("sam3", "sam3")):
        (found,) = loaded("grounder", name, maker).ground([image], ["cat", "dog"], 0.05)
        assert len(found) >= 5, name
        assert np.ptp(found.boxes[:, 0]) > 8, name


@pytest.mark.parametrize("one", CHECKS["grounder"], ids=lambda one: one.__name__)
def test_a_model_behind_an_api_keeps_the_promises(one: Callable[[Case], None]) -> None:
    def look(image: Image, prompts: list[str]) -> list[dict[str, Any]]:
        height, width = image.shape[:2]
        return [
            {"bbox": [0, 0, width * 0.5, height], "score": 0.9, "category": prompts[0]},
            {"bbox": [width * 0.4, 0, width, height], "score": 0.3, "category": prompts[-1]},
        ]

    with serve(Service(look=look)) as service:
        client = Client(service.address, TOKEN, Manners(poll=0.0), sleep=lambda _: None)
        api = DinoX("DINO-X-1.0", device="cpu", dtype="fp32", client=client)
        one(Case(api, ("cat", "traffic light", "red circle")))


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "parquet"])
def test_a_bundled_format_keeps_its_promises(name: str) -> None:
    counted = ("mots", "davis", "ytvis", "cvat-video")  # for videos: pictures are left out
    broken = [one for one in check("format", writer_class(name)) if not one.passed]
    assert [one.name for one in broken] == (["writes files and counts"] if name in counted else [])


class Careless:
    """Breaks one promise, which ``fault`` names."""

    def __init__(self, fault: str) -> None:
        self.fault, self.calls = fault, 0

    def fingerprint(self) -> str:
        self.calls += 1
        return f"careless {self.calls}" if self.fault == "offers every method" else "careless"

    def check_prompts(self, prompts: Sequence[str]) -> list[str]:
        return []

    def ground(
        self, images: Sequence[Image], prompts: Sequence[str], floor: float
    ) -> list[Proposals]:
        self.calls += 1
        return [self._one(image, prompts, floor, images) for image in images]

    def _one(
        self, image: Image, prompts: Sequence[str], floor: float, images: Sequence[Image]
    ) -> Proposals:
        height, width = image.shape[:2]
        fault = self.fault
        if not prompts:
            return Proposals.empty(0)
        if fault == "takes tiny pictures" and min(height, width) < 2:
            raise ValueError("too small")
        if fault == "takes huge pictures" and max(height, width) > 4500:
            raise MemoryError
        box = np.array([[0, 0, width / 2, height]], np.float32)
        scores = np.array([[0.9 - 0.1 * (text != "cat") for text in prompts]], np.float32)
        if fault == "gives boxes and scores in range":
            box *= 3
        if fault == "tells pixels from shares":
            box /= [width, height, width, height]
        if fault == "keeps columns with their prompts":
            scores = np.sort(scores)
        if fault == "gives batches what it gives singles":
            scores /= len(images)
        if fault == "repeats itself":
            scores -= np.float32(1e-4 * self.calls)
        if fault == "sees what a person sees" and height < width == 260:
            box[:, 2] = 10 + self.calls
        if fault == "leaves pictures as they are" and image.flags.writeable:
            image[0, 0] ^= 1
        keep = scores.max(axis=1) >= (0 if fault == "answers nothing with nothing" else floor)
        return Proposals(box[keep].astype(np.float32), scores[keep].astype(np.float32))


@pytest.mark.parametrize("one", CHECKS["grounder"], ids=lambda one: one.__name__)
def test_a_broken_promise_is_found(one: Callable[[Case], None]) -> None:
    fault = one.__name__.replace("_", " ")
    broken = [found.name for found in check("grounder", Careless(fault)) if not found.passed]
    assert fault in broken
    kept = [found.name for found in check("grounder", Careless("none")) if not found.passed]
    assert kept == []


def test_a_segmenter_without_faults_has_none() -> None:
    assert [one.detail for one in check("segmenter", Ellipses(None)) if not one.passed] == []


def code_lines(path: Path) -> int:
    """Return how many lines hold code: no comments, no docstrings, no blank lines."""
    text = path.read_text("utf-8")
    words = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in words:
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            first = node.body[0]
            code -= set(range(first.lineno, (first.end_lineno or 0) + 1))
    return len(code)


def test_an_adapter_is_under_150_lines() -> None:
    long = {}
    for targets in registry.ADAPTERS.values():
        for target in targets.values():
            path = Path(*target.partition(":")[0].split(".")).with_suffix(".py")
            path = path if path.exists() else path.with_suffix("") / "__init__.py"
            if (count := code_lines(path)) >= 150:
                long[path.as_posix()] = count
    assert long == {}
