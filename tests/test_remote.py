"""Inputs by address: web servers, lists and buckets, and what goes wrong with them."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

import autolabel
from autolabel.errors import InputError, MissingExtra, UsageError
from autolabel.media import remote
from autolabel.media.inputs import list_inputs
from autolabel.media.pictures import read_image
from autolabel.ontology import parse_ontology
from autolabel.store import Project
from tests.pictures import gray_steps, save, write_video

FAKES = {"grounder": "tests.fakes:Blobs", "segmenter": "tests.fakes:Ellipses", "device": "cpu"}


class Web(BaseHTTPRequestHandler):
    """Serves ``files``; a path in ``busy`` is refused with 503 so many times first."""

    files: ClassVar[dict[str, bytes]] = {}
    busy: ClassVar[dict[str, int]] = {}
    cut: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        path = unquote(self.path)
        if self.busy.get(path, 0):
            self.busy[path] -= 1
            self.send_error(503)
            return
        body = self.files.get(path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if path in self.cut else body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server of this machine."""
    monkeypatch.setattr(remote.time, "sleep", lambda seconds: None)
    Web.files, Web.busy, Web.cut = {}, {}, set()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Web)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def picture(tmp_path: Path) -> bytes:
    return save(tmp_path / "made" / "a.png").read_bytes()


def test_a_picture_at_an_address_has_the_key_of_its_bytes(web: str, picture: bytes) -> None:
    Web.files["/a b.png"] = picture
    frame, key = read_image(f"{web}/a b.png")
    assert frame.image.shape == (40, 60, 3)
    assert key == hashlib.sha256(picture).hexdigest()


def test_a_list_is_labelled_and_the_second_run_asks_for_no_picture(
    web: str, picture: bytes, tmp_path: Path
) -> None:
    text = f"# two folders\n{web}/x/1.png\n\ny/1.png\n/gone.png\n"
    Web.files |= {"/list.txt": text.encode(), "/x/1.png": picture, "/y/1.png": picture + b" "}
    what = ([f"{web}/list.txt"], parse_ontology("cat: cat"))
    report = autolabel.run(*what, out=tmp_path / "p", **FAKES)
    assert (report.total, report.done, report.failed) == (3, 2, 1)
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert [one.name for one in project.media()] == ["gone.png", "x/1.png", "y/1.png"]
        assert "the server said 404" in next(project.failures()).reason
        assert project.find("x/1.png").key == hashlib.sha256(picture).hexdigest()
    del Web.files["/x/1.png"], Web.files["/y/1.png"]
    again = autolabel.run(*what, out=tmp_path / "p", **FAKES)
    assert (again.done, again.failed) == (2, 1)


def test_the_same_content_here_and_there_is_labelled_once(
    web: str, picture: bytes, tmp_path: Path
) -> None:
    Web.files["/b.png"] = picture
    local = tmp_path / "made" / "a.png"
    report = autolabel.run(
        [f"{web}/b.png", local], parse_ontology("cat: cat"), out=tmp_path / "p", **FAKES
    )
    assert report.done == 2
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert len({one.key for one in project.media()}) == 1


def test_what_fails_for_the_moment_is_tried_again(web: str, picture: bytes) -> None:
    Web.files["/a.png"], Web.busy["/a.png"] = picture, 3
    assert remote.read_bytes(f"{web}/a.png", 10**6) == picture
    Web.busy["/a.png"] = 4
    with pytest.raises(InputError, match="the server said 503"):
        remote.read_bytes(f"{web}/a.png", 10**6)


def test_what_is_too_large_or_cut_off_is_refused(web: str, picture: bytes) -> None:
    Web.files["/a.png"] = picture
    with pytest.raises(InputError, match="too large: more than 50 bytes"):
        remote.read_bytes(f"{web}/a.png", 50)
    Web.cut.add("/a.png")
    with pytest.raises(InputError, match="IncompleteRead"):
        remote.read_bytes(f"{web}/a.png", 10**6)


@pytest.mark.parametrize("line", ["file:///etc/passwd", "ftp://host/a.png", "memory://a.png"])
def test_a_list_can_not_name_files_of_this_machine(web: str, line: str) -> None:
    Web.files["/list.txt"] = f"a.png\n{line}\n".encode()
    with pytest.raises(UsageError, match=r"list\.txt, line 2: found .* expected an address"):
        list_inputs([f"{web}/list.txt"])


def test_a_page_is_no_input_and_an_empty_list_neither(web: str) -> None:
    with pytest.raises(UsageError, match=r"or of a list \(\.txt, one address a line\)"):
        list_inputs([f"{web}/pictures/"])
    Web.files["/list.txt"] = b"\n# nothing\n"
    with pytest.raises(UsageError, match="the list is empty"):
        list_inputs([f"{web}/list.txt"])
    with pytest.raises(UsageError, match="the server said 404"):
        list_inputs([f"{web}/other.txt"])


@pytest.fixture
def bucket(picture: bytes) -> Iterator[str]:
    """The address of a bucket in memory."""
    system = fsspec.filesystem("memory")
    for name in ("b/set/1.png", "b/set/deep/2.png", "b/set/notes.md"):
        system.pipe(f"/{name}", picture + name.encode())
    yield "memory://b"
    system.rm("/b", recursive=True)


def test_folders_and_patterns_of_a_bucket(bucket: str) -> None:
    assert [item.name for item in list_inputs([f"{bucket}/set"])] == ["1.png", "deep/2.png"]
    assert [item.name for item in list_inputs([f"{bucket}/set/"])] == ["1.png", "deep/2.png"]
    (item,) = list_inputs([f"{bucket}/set/deep/*.png"])
    assert (item.name, item.path) == ("2.png", "memory://b/set/deep/2.png")
    assert read_image(item.path)[0].image.shape == (40, 60, 3)


def test_a_video_in_a_bucket_is_at_hand_as_a_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", gray_steps(3))
    fsspec.filesystem("memory").pipe("/v/clip.mp4", path.read_bytes())
    with remote.at_hand("memory://v/clip.mp4") as here:
        assert Path(here).suffix == ".mp4"
        assert Path(here).read_bytes() == path.read_bytes()
    assert not Path(here).exists()


class Denied(MemoryFileSystem):
    """A bucket that may not be listed or read."""

    protocol = "denied"

    def find(self, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError("403 Forbidden")

    def open(self, *args: Any, **kwargs: Any) -> Any:
        raise PermissionError("403 Forbidden")


def test_a_bucket_without_permission_and_one_that_nothing_reads() -> None:
    fsspec.register_implementation("denied", Denied, clobber=True)
    with pytest.raises(UsageError, match=r"permission denied \(403 Forbidden\): are credentials"):
        list_inputs(["denied://b/set"])
    with pytest.raises(InputError, match=r"denied://b/1\.png: permission denied"):
        remote.read_bytes("denied://b/1.png", 10)
    with pytest.raises(UsageError, match="nonsense"):
        list_inputs(["nonsense://b/set"])
    with pytest.raises(MissingExtra, match=r"autolabel\[remote\]"):
        list_inputs(["s3://b/set"])


def test_an_empty_folder_of_a_bucket_says_what_is_there(bucket: str) -> None:
    with pytest.raises(UsageError, match="no picture or video there; found 1 other file"):
        list_inputs([f"{bucket}/set/*.md"])
