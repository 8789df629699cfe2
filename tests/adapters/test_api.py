"""The API client against a server that speaks the documented protocol, well and badly."""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

import autolabel
from autolabel import registry
from autolabel.errors import InputError, ServiceError, UsageError
from autolabel.ground.dds_api import DinoX, GroundingDino15
from autolabel.ground.dds_client import Client, Manners
from autolabel.ontology import parse_ontology
from tests.adapters.dds_server import TOKEN, Service, serve

IMAGE = np.zeros((40, 60, 3), np.uint8)
QUICK = Manners(timeout=0.3, answer=0.3, task=5.0, tries=3, pause=1.0, poll=0.0)


def look(_image: object, prompts: list[str]) -> list[dict[str, Any]]:
    return [
        {"bbox": [1, 2, 31, 22], "score": 0.9, "category": prompts[0]},
        {"bbox": [5, 5, 25, 35], "score": 0.4, "category": "something else"},
    ]


@pytest.fixture
def service() -> Iterator[Service]:
    with serve(Service(look=look)) as one:
        yield one


def client(service: Service, token: str = TOKEN, **more: Any) -> tuple[DinoX, list[float]]:
    slept: list[float] = []
    made = Client(service.address, token, Manners(**{**vars_of(QUICK), **more}), slept.append)
    return DinoX("DINO-X-1.0", device="cpu", dtype="fp32", client=made), slept


def vars_of(manners: Manners) -> dict[str, Any]:
    return {name: getattr(manners, name) for name in Manners.__slots__}


def test_a_task_is_sent_asked_about_and_read(service: Service) -> None:
    api, _ = client(service)
    (found,) = api.ground([IMAGE], ["dog", "Cat"], 0.25)
    assert found.boxes.tolist() == [[1, 2, 31, 22]]
    assert found.scores.tolist() == [[0.0, pytest.approx(0.9)]]
    (body,) = service.bodies
    assert body["prompt"] == {"type": "text", "text": "cat.dog"}
    assert (body["model"], body["targets"], body["bbox_threshold"]) == (
        "DINO-X-1.0",
        ["bbox"],
        0.25,
    )
    assert service.asked == [
        "POST /v2/task/dinox/detection",
        "GET /v2/task_status/task-1",
        "GET /v2/task_status/task-1",
    ]
    assert api.requests == 1


def test_grounding_dino_has_its_own_address(service: Service) -> None:
    made = Client(service.address, TOKEN, QUICK, lambda _: None)
    api = GroundingDino15("GroundingDino-1.5-Pro", device="cpu", dtype="fp32", client=made)
    api.ground([IMAGE], ["cat"], 0.1)
    assert service.asked[0] == "POST /v2/task/grounding_dino/detection"
    assert service.bodies[0]["model"] == "GroundingDino-1.5-Pro"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_what_may_succeed_later_is_tried_again(service: Service, status: int) -> None:
    service.replies = [status, status]
    api, slept = client(service)
    (found,) = api.ground([IMAGE], ["cat"], 0.1)
    assert len(found) == 1
    waits = [one for one in slept if one]
    assert 0.8 <= waits[0] <= 1.2
    assert 1.6 <= waits[1] <= 2.4, "the second pause is twice the first"
    assert api.requests == 1, "what was refused isn't counted"


def test_retry_after_is_honoured(service: Service) -> None:
    service.replies, service.headers = [429], {"Retry-After": "7"}
    api, slept = client(service)
    api.ground([IMAGE], ["cat"], 0.1)
    assert 7.0 in slept
    service.replies, service.headers = [429], {"Retry-After": "999999"}
    api.ground([IMAGE], ["cat"], 0.1)
    assert max(slept) == 60.0, "nobody waits for days"


def test_the_rate_limit_is_kept(service: Service) -> None:
    api, slept = client(service, apart=100.0)
    api.ground([IMAGE, IMAGE], ["cat"], 0.1)
    assert len([one for one in slept if 90 < one <= 100]) == 1


def test_a_service_that_is_down_ends_the_run(service: Service) -> None:
    service.replies = [500, 500, 500]
    api, _ = client(service)
    with pytest.raises(ServiceError, match=r"HTTP 500 \(3 tries\)"):
        api.ground([IMAGE], ["cat"], 0.1)
    gone = DinoX(
        "m", device="cpu", dtype="fp32", client=Client("http://127.0.0.1:9", TOKEN, QUICK, print)
    )
    with pytest.raises(ServiceError, match="refused"):
        gone.ground([IMAGE], ["cat"], 0.1)


@pytest.mark.parametrize(("status", "says"), [(401, "refuses the token"), (402, "no quota")])
def test_a_refused_token_ends_the_run_at_once(service: Service, status: int, says: str) -> None:
    service.replies = [status]
    api, slept = client(service)
    with pytest.raises(ServiceError, match=says) as caught:
        api.ground([IMAGE], ["cat"], 0.1)
    assert "DDS_API_TOKEN" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert (slept, service.bodies) == ([], [])


def test_a_wrong_token_is_told_and_not_shown(service: Service) -> None:
    api, _ = client(service, token="my-secret")
    with pytest.raises(ServiceError, match="refuses the token") as caught:
        api.ground([IMAGE], ["cat"], 0.1)
    assert "my-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (b"<html>gateway</html>", "expected JSON with a code, found '<html>gateway</html>'"),
        (b'{"code": 0, "data"', "expected JSON"),
        (b"[]", "expected JSON"),
        (b"[" * 5000, "expected JSON"),
        (b'{"code": 0, "data": 7}', "expected data, found int"),
        (b'{"code": 0, "data": {}}', "no task_uuid"),
        (b'{"code": 10402, "msg": "bad image", "data": null}', "code 10402: bad image"),
        (413, "HTTP 413"),
        (302, "HTTP 302"),
    ],
)
def test_a_nonsensical_answer_is_one_pictures_failure(
    service: Service, reply: object, says: str
) -> None:
    service.replies, service.headers = [reply], {"Location": "http://127.0.0.1:9/steal"}
    api, _ = client(service)
    with pytest.raises(InputError) as caught:
        api.ground([IMAGE], ["cat"], 0.1)
    assert says in str(caught.value)


@pytest.mark.parametrize("reply", ["hang", "drip", "cut"])
def test_a_task_that_may_have_been_taken_is_not_sent_again(service: Service, reply: str) -> None:
    service.replies = [reply]
    api, _ = client(service)
    with pytest.raises(InputError):
        api.ground([IMAGE], ["cat"], 0.1)
    assert service.asked == ["POST /v2/task/dinox/detection"]


@pytest.mark.parametrize(
    "broken", [ssl.SSLEOFError(8, "EOF"), OSError(errno.ENETDOWN, "Network is down")], ids=repr
)
def test_a_task_whose_answer_is_lost_on_the_way_is_not_sent_again(
    service: Service, broken: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_client: Client, answer: Any) -> bytes:
        raise broken

    monkeypatch.setattr(Client, "_read", read)  # what a real network does to an answer
    api, _ = client(service)
    with pytest.raises(InputError):
        api.ground([IMAGE], ["cat"], 0.1)
    assert service.asked == ["POST /v2/task/dinox/detection"]


@pytest.mark.parametrize("reply", ["hang", "drip", "cut"])
def test_a_question_about_a_task_is_asked_again(service: Service, reply: str) -> None:
    service.replies = [None, reply]
    api, slept = client(service)
    (found,) = api.ground([IMAGE], ["cat"], 0.1)
    assert len(found) == 1
    assert any(0.8 <= one <= 1.2 for one in slept)


def test_a_failed_task_is_one_pictures_failure(service: Service) -> None:
    service.fail = "image is broken"
    api, _ = client(service)
    with pytest.raises(InputError, match="task-1: failed: image is broken"):
        api.ground([IMAGE], ["cat"], 0.1)


@pytest.mark.parametrize(
    "wrong",
    [
        {"bbox": [1, 2, 3], "score": 0.5, "category": "cat"},
        {"bbox": [1, 2, "x", 4], "score": 0.5, "category": "cat"},
        {"bbox": [1, 2, 3, 4], "score": 1.5, "category": "cat"},
        {"bbox": [1, 2, 3, float("nan")], "score": 0.5, "category": "cat"},
        {"score": 0.5, "category": "cat"},
    ],
)
def test_a_wrong_object_is_told(service: Service, wrong: dict[str, Any]) -> None:
    service.look = lambda _image, _prompts: [wrong]
    api, _ = client(service)
    with pytest.raises(InputError, match="wrong object"):
        api.ground([IMAGE], ["cat"], 0.1)


def test_boxes_outside_are_cut_and_prompts_not_asked_are_dropped(service: Service) -> None:
    service.look = lambda _image, _prompts: [
        {"bbox": [-5, -5, 900, 20], "score": 0.5, "category": "CAT"},
        {"bbox": [70, 50, 90, 60], "score": 0.9, "category": "cat"},
        {"bbox": [0, 0, 9, 9], "score": 0.8, "category": "dog"},
    ]
    api, _ = client(service)
    (found,) = api.ground([IMAGE], ["cat"], 0.1)
    assert found.boxes.tolist() == [[0, 0, 60, 20]]


def test_a_token_is_needed_and_goes_only_over_https(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DDS_API_TOKEN", raising=False)
    with pytest.raises(UsageError, match="environment variable DDS_API_TOKEN"):
        registry.load_grounder("dino-x", "cpu")
    monkeypatch.setenv("DDS_API_TOKEN", "a\r\nX-Forged: 1")
    with pytest.raises(UsageError, match="DDS_API_TOKEN"):
        registry.load_grounder("dino-x", "cpu")
    monkeypatch.setenv("DDS_API_TOKEN", "t")
    monkeypatch.setenv("DDS_API_URL", "http://example.com")
    with pytest.raises(UsageError, match="expected https://"):
        registry.load_grounder("dino-x", "cpu")


def test_a_run_says_that_pictures_leave_counts_them_and_stops_at_the_limit(
    service: Service,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("DDS_API_TOKEN", TOKEN)
    monkeypatch.setenv("DDS_API_URL", service.address)
    for number in range(5):
        Pillow.new("RGB", (60, 40), (number, 0, 0)).save(tmp_path / f"{number}.png")
    settings: dict[str, Any] = {
        "out": tmp_path / "project",
        "grounder": "dino-x",
        "segmenter": "none",
        "device": "cpu",
    }
    ontology = parse_ontology("cat: cat")
    with caplog.at_level(logging.WARNING), pytest.raises(ServiceError, match="--max-requests 2"):
        autolabel.run([tmp_path], ontology, max_requests=2, **settings)
    assert "every picture is SENT to api.deepdataspace.com" in caplog.text
    assert TOKEN not in caplog.text
    with autolabel.Project.open(tmp_path / "project", readonly=True) as project:
        assert [media.status for media in project.media()] == ["done", "done"]
    report = autolabel.run([tmp_path], ontology, max_requests=3, **settings)
    assert (report.done, report.objects, len(service.bodies)) == (5, 5, 5)
    with pytest.raises(UsageError, match="sends none"):
        autolabel.run(
            [tmp_path],
            ontology,
            max_requests=3,
            **settings | {"grounder": "tests.fakes:Blobs"},
            redo=True,
        )
