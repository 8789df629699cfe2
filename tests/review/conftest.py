"""The app's database with a loaded project, shared by the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.review import session
from tests.review.loaded import App
from tests.review.projects import make_project


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """One mongod and one pair of data sets for all tests of this folder."""
    suggested = {"suggested": '["1.png"]'}
    app = App(make_project(tmp_path_factory.mktemp("review"), **suggested))
    app.load()
    yield app
    session.stop(app.places)


@pytest.fixture
def app(template: App, tmp_path: Path) -> App:
    """The app with a project of its own, loaded as it came."""
    folder = template.folder
    for old in [*folder.glob("labels.db*"), *folder.glob("review/snapshot.db*")]:
        old.unlink()
    fresh = make_project(tmp_path)
    (fresh / "labels.db").rename(folder / "labels.db")
    with session.mongo(template.port) as db:
        db[template.made["image"]["samples"]].delete_many({})
    template.load()
    return template
