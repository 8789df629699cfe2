"""The Ray engine: the same labels as on one machine, whatever happens to the workers."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import ray

import autolabel
from autolabel.engines import ray as engine
from autolabel.engines.parcels import Answer, Hello
from autolabel.errors import EngineError, UsageError, WeightsError
from autolabel.store import Project
from autolabel.tiny.truth import write_dataset
from tests.command import ROOT, digest, make_pictures

SHAPES = ROOT / "ontologies" / "shapes.yaml"
FAKES = {"grounder": "tests.fakes:Blobs", "segmenter": "tests.fakes:Ellipses", "device": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def cluster() -> None:
    """One cluster of this machine for all tests: to start one takes seconds.

    It ends with the process. Ended here, right after tests that kill workers, Ray 2.60 has crashed
    the process (once in eight runs of all tests), and the tests that it had still to run with it.
    """
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=2**27,
        _node_ip_address="127.0.0.1",
        runtime_env={"env_vars": {"PYTHONPATH": str(ROOT)}},
    )


@pytest.fixture
def ontology(tmp_path: Path) -> Path:
    path = tmp_path / "classes.yaml"
    path.write_text("cat: cat\ndog: dog\npuppy: dog\n")
    return path


def exported(project: Path) -> str:
    """Return a hash over a project's COCO export."""
    out = project.with_name(project.name + "-coco")
    autolabel.export(project, "coco", out, overwrite=True)
    return digest(out)


def test_two_workers_give_the_bytes_that_one_machine_gives(tmp_path: Path) -> None:
    write_dataset(
        tmp_path / "scenes", count=5, clips=1, frames=6, seed=5, height=128, width=160, hard=False
    )
    inputs = [tmp_path / "scenes" / "images", tmp_path / "scenes" / "clips"]
    same = {"preset": "tiny", "device": "cpu", "threads": 1, "batch_size": 2}
    here = autolabel.run(inputs, SHAPES, out=tmp_path / "local", **same)
    there = autolabel.run(inputs, SHAPES, out=tmp_path / "ray", engine="ray", workers=2, **same)
    assert replace(there, seconds=0.0, stages={}) == replace(here, seconds=0.0, stages={})
    assert {"ground", "segment", "track", "write"} <= there.stages.keys()
    assert there.done == 6
    assert exported(tmp_path / "ray") == exported(tmp_path / "local")


class Deadly:
    """A progress that kills a worker after each of the first batches that it sees."""

    def __init__(self, pids: Path, kills: int) -> None:
        self.pids, self.kills = pids, kills

    def start(self, total: int, done: int) -> None:
        pass

    def advance(self, step: object) -> None:
        alive = [int(path.name) for path in self.pids.iterdir()]
        if self.kills and alive:
            self.kills -= 1
            os.kill(alive[0], signal.SIGKILL)
            (self.pids / str(alive[0])).unlink()

    def note(self, text: str) -> None:
        pass

    def finish(self) -> None:
        pass


def test_workers_that_are_killed_are_replaced_and_nothing_is_lost(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 40)
    (tmp_path / "pids").mkdir()
    models = {**FAKES, "grounder": f"tests.engines.workers:Signed:{tmp_path / 'pids'}"}
    settings = {**models, "batch_size": 1, "engine": "ray", "workers": 2}
    deadly = Deadly(tmp_path / "pids", kills=5)
    report = autolabel.run([pictures], ontology, out=tmp_path / "ray", progress=deadly, **settings)
    assert deadly.kills == 0
    assert (report.done, report.failed) == (40, 0)
    settings = {**models, "batch_size": 1}
    autolabel.run([pictures], ontology, out=tmp_path / "local", **settings)
    assert exported(tmp_path / "ray") == exported(tmp_path / "local")


def test_a_run_goes_on_with_the_other_engine_and_bad_files_are_failures(
    tmp_path: Path, ontology: Path
) -> None:
    pictures = make_pictures(tmp_path / "in", 9)
    (pictures / "0003.png").write_bytes(b"no picture")
    out = tmp_path / "p"
    first = autolabel.run([pictures], ontology, out=out, limit=5, **FAKES)
    assert (first.done, first.failed) == (4, 1)
    both = autolabel.run([pictures], ontology, out=out, engine="ray", workers=1, **FAKES)
    assert (both.total, both.done, both.failed) == (9, 8, 1)
    with Project.open(out, readonly=True) as project:
        assert [one.name for one in project.failures()] == ["0003.png"]
    autolabel.run([pictures], ontology, out=tmp_path / "whole", **FAKES)
    assert exported(out) == exported(tmp_path / "whole")


def test_workers_without_the_weights_say_where(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 1)
    broken = {**FAKES, "grounder": "tests.engines.workers:Missing"}
    with pytest.raises(autolabel.AutolabelError, match=r"the worker on \S+: no weights in /gone"):
        autolabel.run([pictures], ontology, out=tmp_path / "p", engine="ray", workers=1, **broken)
    with Project.open(tmp_path / "p", readonly=True) as project:
        assert project.meta() == {}  # nothing was begun


def test_workers_with_other_versions_are_refused() -> None:
    here = engine.package_versions()
    answer = Answer(Hello("node-7", {**here, "torch": "1.0"}))
    told = rf"on node-7 has other versions: torch 1\.0 \(here {here['torch']}\)"
    with pytest.raises(EngineError, match=told):
        engine.checked(answer, here)


def test_more_workers_than_the_cluster_has_are_refused(tmp_path: Path, ontology: Path) -> None:
    pictures = make_pictures(tmp_path / "in", 1)
    settings = {**FAKES, "engine": "ray", "out": tmp_path / "p"}
    with pytest.raises(UsageError, match=r"--workers 3: the cluster has 2 CPU cores"):
        autolabel.run([pictures], ontology, workers=3, **settings)
    settings["device"] = "cuda"
    with pytest.raises(UsageError, match=r"--workers 2 with 0\.5 GPUs each need 1, .* has 0"):
        autolabel.run([pictures], ontology, workers=2, gpus_per_worker=0.5, **settings)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", r"no Ray cluster answers there \(.*refused\)"),
        ("ray://somewhere:10001", "expected HOST:PORT of the cluster's head"),
        ("somewhere", "expected HOST:PORT of the cluster's head"),
    ],
)
def test_an_address_where_no_cluster_is_says_so(address: str, told: str) -> None:
    with pytest.raises(autolabel.AutolabelError, match=told):
        engine.check_answers(address)


def test_settings_of_ray_without_it_are_refused(tmp_path: Path, ontology: Path) -> None:
    with pytest.raises(UsageError, match="need --engine ray"):
        autolabel.run([tmp_path], ontology, out=tmp_path / "p", workers=2, **FAKES)


def test_errors_of_workers_keep_their_kind() -> None:
    hello = Hello("node-7", {})
    with pytest.raises(WeightsError, match="the worker on node-7: NaN"):
        engine.checked(Answer(hello, error=WeightsError("NaN")), {})
