"""Every file that was meant is found, under a name of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from autolabel.errors import InputError, UsageError
from autolabel.media.inputs import list_inputs
from autolabel.media.pictures import read_image
from tests.pictures import save


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def names(*inputs: object, **options: object) -> list[str]:
    return [item.name for item in list_inputs(list(inputs), **options)]


def test_a_folder_keeps_its_tree_in_the_names(tmp_path: Path) -> None:
    touch(tmp_path / "in", "b.jpg", "street/002.JPG", "street/001.png", "street/deep er/ü'\".webp")
    items = list_inputs([tmp_path / "in"])
    assert [item.name for item in items] == [
        "b.jpg",
        "street/001.png",
        "street/002.JPG",
        "street/deep er/ü'\".webp",
    ]
    assert items[0].path == str(tmp_path / "in/b.jpg")


def test_kinds_and_what_is_left_out_of_a_folder(tmp_path: Path) -> None:
    touch(tmp_path, "a.tif", "v.MP4", "notes.txt", ".DS_Store", "._a.tif", ".git/x.jpg", "b.gif")
    found = [(item.name, item.kind) for item in list_inputs([tmp_path])]
    assert found == [("a.tif", "image"), ("v.MP4", "video")]


def test_a_file_given_itself_always_counts(tmp_path: Path) -> None:
    touch(tmp_path, "notes.txt", ".hidden.jpg", "v.mov")
    found = list_inputs([tmp_path / name for name in ("notes.txt", ".hidden.jpg", "v.mov")])
    assert [(item.name, item.kind) for item in found] == [
        (".hidden.jpg", "image"),
        ("notes.txt", "image"),
        ("v.mov", "video"),
    ]


def test_same_stem_stays_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "a.png", "x/a.jpg")
    assert names(tmp_path) == ["a.jpg", "a.png", "x/a.jpg"]


def test_equal_names_grow_by_their_folders(tmp_path: Path) -> None:
    touch(tmp_path, "day/cam/1.jpg", "night/cam/1.jpg", "night/cam/2.jpg", "1.jpg")
    inputs = [tmp_path / "day/cam", tmp_path / "night/cam"]
    assert names(*inputs) == ["2.jpg", "day/cam/1.jpg", "night/cam/1.jpg"]
    assert names(*reversed(inputs)) == names(*inputs)
    # The third's grown name may not take one that another has already.
    three = names(*inputs, tmp_path / "1.jpg")
    assert three == ["2.jpg", "day/cam/1.jpg", "night/cam/1.jpg", f"{tmp_path.name}/1.jpg"]


def test_a_grown_name_that_another_file_has(tmp_path: Path) -> None:
    touch(tmp_path, "p/a/1.jpg", "q/a/1.jpg", "q/1.jpg")
    # 1.jpg twice, so both grow; p's becomes a/1.jpg, which q has: those two grow again.
    assert names(tmp_path / "p/a", tmp_path / "q") == ["p/a/1.jpg", "q/1.jpg", "q/a/1.jpg"]


def test_a_file_reached_twice_is_one_item(tmp_path: Path) -> None:
    touch(tmp_path, "s/a.jpg")
    ways = (tmp_path, tmp_path / "s", tmp_path / "s/a.jpg", f"{tmp_path}/*/a.jpg")
    assert names(*ways) == ["s/a.jpg"]
    assert names(*reversed(ways)) == ["s/a.jpg"]


def test_globs(tmp_path: Path) -> None:
    touch(tmp_path, "a1.jpg", "a2.jpg", "b.png", "c.txt", "s/a3.jpg", "s/t/a4.jpg", ".h/a5.jpg")
    assert names(f"{tmp_path}/a?.jpg") == ["a1.jpg", "a2.jpg"]
    assert names(f"{tmp_path}/[ab]*") == ["a1.jpg", "a2.jpg", "b.png"]
    assert names(f"{tmp_path}/**/*.jpg") == ["a1.jpg", "a2.jpg", "s/a3.jpg", "s/t/a4.jpg"]
    assert names(f"{tmp_path}/**") == ["a1.jpg", "a2.jpg", "b.png", "s/a3.jpg", "s/t/a4.jpg"]
    assert names(f"{tmp_path}/s/**/a4.jpg") == ["t/a4.jpg"]
    assert names(f"{tmp_path}/?") == ["s/a3.jpg", "s/t/a4.jpg"]


def test_a_relative_glob(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "in/a.jpg", "in/x/b.jpg")
    monkeypatch.chdir(tmp_path)
    assert names("in/*.jpg") == ["a.jpg"]
    assert names("**/*.jpg") == ["in/a.jpg", "in/x/b.jpg"]
    assert names(".") == ["in/a.jpg", "in/x/b.jpg"]


def test_an_existing_file_wins_over_a_glob(tmp_path: Path) -> None:
    touch(tmp_path, "a[1].jpg", "a1.jpg", "b*.jpg", "bb.jpg", "d[x]/1.jpg")
    assert names(tmp_path / "a[1].jpg") == ["a[1].jpg"]
    assert names(tmp_path / "b*.jpg") == ["b*.jpg"]
    assert names(tmp_path / "d[x]") == ["1.jpg"]


def test_links_are_followed_and_loops_end(tmp_path: Path) -> None:
    touch(tmp_path / "in", "a/1.jpg", "b/2.jpg")
    touch(tmp_path / "elsewhere", "3.jpg")
    (tmp_path / "in/a/loop").symlink_to(tmp_path / "in")
    (tmp_path / "in/b/loop").symlink_to(tmp_path / "in/a")
    (tmp_path / "in/a/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in/a/itself").symlink_to(tmp_path / "in/a/itself")
    expected = ["a/1.jpg", "a/out/3.jpg", "b/2.jpg"]
    assert names(tmp_path / "in") == expected
    assert names(f"{tmp_path}/in/**/*.jpg") == expected


def test_a_dead_link_is_an_item_that_fails_in_reading(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    [item] = list_inputs([tmp_path])
    with pytest.raises(InputError, match="no such file"):
        read_image(item.path)


def test_the_projects_own_folder_is_left_out(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "autolabel-out/render/a.jpg")
    assert names(tmp_path, exclude=[tmp_path / "autolabel-out"]) == ["a.jpg"]


def test_a_name_that_is_no_utf8_can_be_stored(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/\xff.jpg", "wb"):
        pass
    [item] = list_inputs([tmp_path])
    assert item.name == "\\udcff.jpg"
    assert item.path.encode("utf-8")


def test_folders_of_frames_only_when_asked(tmp_path: Path) -> None:
    touch(tmp_path / "in", "clip/00000.jpg", "clip/00001.jpg", "pics/cat.jpg", "pics/dog.jpg")
    touch(tmp_path / "in", "prefixed/f_8.png", "prefixed/f_10.png", "one/000.jpg")
    touch(tmp_path / "in", "deep/0.jpg", "deep/1.jpg", "deep/more/0.jpg", "v.mp4")
    assert len(list_inputs([tmp_path / "in"])) == 11
    found = list_inputs([tmp_path / "in"], frame_folders=True)
    assert [(item.name, item.kind) for item in found] == [
        ("clip", "frames"),
        ("deep/0.jpg", "image"),
        ("deep/1.jpg", "image"),
        ("deep/more/0.jpg", "image"),
        ("one/000.jpg", "image"),
        ("pics/cat.jpg", "image"),
        ("pics/dog.jpg", "image"),
        ("prefixed", "frames"),
        ("v.mp4", "video"),
    ]
    assert found[0].path == str(tmp_path / "in/clip")
    assert names(tmp_path / "in/clip", frame_folders=True) == ["clip"]
    assert names(f"{tmp_path}/in/c*/*.jpg", frame_folders=True) == ["clip"]


def test_two_frame_folders_of_one_name(tmp_path: Path) -> None:
    touch(tmp_path, "x/clip/0.jpg", "x/clip/1.jpg", "y/clip/0.jpg", "y/clip/1.jpg")
    inputs = (tmp_path / "x/clip", tmp_path / "y/clip")
    assert names(*inputs, frame_folders=True) == ["x/clip", "y/clip"]


def test_a_path_that_does_not_exist_suggests_near_ones(tmp_path: Path) -> None:
    touch(tmp_path, "photos/truck.jpg")
    with pytest.raises(
        UsageError, match=r"photo: no such file or folder\. Did you mean .*photos\?"
    ):
        list_inputs([tmp_path / "photo"])
    with pytest.raises(UsageError, match=r"Did you mean .*photos/truck\.jpg\?"):
        list_inputs([tmp_path / "photos/truk.jpg"])
    with pytest.raises(UsageError, match=r"photo/x\.jpg: no such file.* Did you mean .*photos\?"):
        list_inputs([tmp_path / "photo/x.jpg"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", r"empty: no picture or video in this folder \(looked for \.bmp \.jpeg .* \.webm\)"),
        ("/*.jpg", r"empty/\*\.jpg: matches no picture or video \(looked for"),
        ("/**/*.jpg", r"matches no picture or video"),
        ("/gone/**/*.jpg", r"matches no picture or video"),
    ],
)
def test_nothing_found_says_what_was_looked_for(tmp_path: Path, given: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        list_inputs([f"{tmp_path}/empty{given}"])


def test_a_folder_of_other_files_says_how_many(tmp_path: Path) -> None:
    touch(tmp_path, "a.txt", "b.gif")
    with pytest.raises(UsageError, match=r"; found 2 other files\)"):
        list_inputs([tmp_path])


def test_no_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no input given"):
        list_inputs([])


def test_the_order_is_by_name_not_by_the_file_system(tmp_path: Path) -> None:
    for number in (3, 1, 2):
        save(tmp_path / f"{number}.png")
    assert names(tmp_path) == ["1.png", "2.png", "3.png"]
