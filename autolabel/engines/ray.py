"""Many devices, on one machine or a cluster: Ray Data with an actor a device.

Each actor loads the models once and runs the engines of one machine on parcels of work
(``parcels``); pictures are read where they are labelled and never travel. What comes back is
stored by the one writer as it arrives, in any order. An actor that dies is replaced and its
parcel done again: results depend on their input alone, so nothing is lost and nothing twice.
"""

from __future__ import annotations

import logging
import os
import platform
import socket
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anyone
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # a lost worker is no one's emergency

import pyarrow as pa
import ray
import ray.data

from autolabel.config import RunConfig, VideoConfig
from autolabel.engines.local import Share, Work, run_images
from autolabel.engines.memory import Limit
from autolabel.engines.parcels import Answer, Hello, Parcel, Recorder, pack, unpack
from autolabel.errors import AutolabelError, EngineError, StorageError, UsageError, WeightsError
from autolabel.models.device import resolve_device
from autolabel.ontology import Ontology
from autolabel.pipeline import Question, Stages
from autolabel.track.values import Tracker

PACKAGES = ("autolabel", "torch", "torchvision", "transformers", "sam2", "numpy", "pillow", "av")
"""What results depend on; Ray itself refuses another Ray or Python."""
CONNECT_SECONDS = 5.0
STORE_BYTES = 2**28
"""Shared memory of a cluster of one's own: only paths and labels pass through it."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What every worker gets: it is the same for all parcels.

    Attributes:
        config: The run's models and settings.
        video: How videos are labelled.
        question: What is asked of every picture.
        follows: Whether there are videos.
        cores: CPU cores of the machine that the run was started on.
        versions: Of the packages that results depend on, where the results are stored.
        load_stages: Loads the models.
        settle: Sets the threads of each call of a model, and compiles it if asked.
        load_tracker: Loads what follows objects.
    """

    config: RunConfig
    video: VideoConfig
    question: Question
    follows: bool
    cores: int
    versions: dict[str, str]
    load_stages: Callable[[RunConfig, Ontology], Stages]
    settle: Callable[[Stages, RunConfig, int], Share]
    load_tracker: Callable[[str, str, str], Tracker]


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that results depend on, without build labels."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name).partition("+")[0]
        except PackageNotFoundError:
            found[name] = "none"
    return found


class Worker:
    """The models of one device; lives in an actor. Errors travel back as answers."""

    def __init__(self, orders: Orders) -> None:
        """Load the models."""
        self._orders = orders
        self._stages: Stages | None = None
        self._tracker: Tracker | None = None
        self._share, self._limit = Share(1, 0), Limit()
        self._hello = Hello(socket.gethostname(), package_versions())
        self._error: Exception | None = None
        try:
            self._load()
        except Exception as error:  # a broken installation raises anything; the driver tells it
            self._error = sendable(error)

    def _load(self) -> None:
        """Load the models and say who we are, if the versions are those that are wanted."""
        orders, hello = self._orders, self._hello
        if hello.versions != orders.versions:
            return
        stages = orders.load_stages(orders.config, orders.question.ontology)
        share = orders.settle(stages, orders.config, orders.cores)
        on_cpu = resolve_device(orders.config.device) == "cpu"
        self._share = share._replace(lanes=1) if on_cpu else share  # others have the other cores
        if orders.follows:
            config = orders.config
            spec = orders.video.tracker or config.segmenter
            self._tracker = orders.load_tracker(spec, config.device, config.dtype)
        segmenter = stages.segmenter.fingerprint() if stages.segmenter else "none"
        warnings = tuple(stages.grounder.check_prompts(orders.question.asked))
        fingerprints = (stages.grounder.fingerprint(), segmenter)
        self._hello = Hello(hello.host, hello.versions, fingerprints, warnings)
        self._stages = stages

    def __call__(self, block: pa.Table) -> pa.Table:
        """Return the answer to the parcel in a block."""
        (data,) = block["parcel"].to_pylist()
        answer = pack(self._answer(unpack(data)))
        return pa.table({"answer": pa.array([answer], pa.large_binary())})

    def _answer(self, parcel: Parcel) -> Answer:
        """Return what the models make of a parcel."""
        if self._stages is None:
            return Answer(self._hello, error=self._error)
        recorder = Recorder(parcel)
        orders = self._orders
        work = Work(
            recorder,
            orders.question,
            self._stages,
            orders.config,
            recorder,
            stop=lambda: False,
            share=self._share,
            limit=self._limit,
        )
        try:
            run_images(work, map(list, parcel.batches))
            if parcel.video is not None and self._tracker is not None:
                from autolabel.engines.video import VideoWork, run_videos

                run_videos(VideoWork(work, self._tracker, orders.video), [parcel.video])
        except Exception as error:  # weights that turn out wrong, a bug: told by the driver
            return Answer(self._hello, tuple(recorder.events), sendable(error))
        return Answer(self._hello, tuple(recorder.events))


def sendable(error: Exception) -> Exception:
    """Return an error that survives the way to the driver: of a kind that takes a text alone."""
    for kind in (WeightsError, UsageError, StorageError, EngineError):
        if isinstance(error, kind):
            return kind(str(error))
    if isinstance(error, AutolabelError):
        return AutolabelError(str(error))
    return EngineError(f"{type(error).__name__}: {error}")


@contextmanager
def connected(config: RunConfig) -> Iterator[int]:
    """Give the number of workers, with a Ray cluster to run them on.

    Raises:
        EngineError: If the cluster can't be reached, or runs another Ray or Python.
        UsageError: If it lacks what the workers are to have.
    """
    ours = not ray.is_initialized()
    if ours:
        _connect(config)
    try:
        yield _workers(config)
    finally:
        if ours:
            ray.shutdown()


def _connect(config: RunConfig) -> None:
    """Connect to the cluster that was named, or start one of this machine alone."""
    address = config.ray_address or os.environ.get("RAY_ADDRESS", "") or "local"
    check_answers(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        cores = max(os.cpu_count() or 1, config.workers + 1)
        options |= {"num_cpus": cores, "object_store_memory": STORE_BYTES}
        options |= {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    try:
        with _mute():
            ray.init(address=address, **options)
    except Exception as error:  # ConnectionError, RuntimeError, ValueError, and what gRPC has
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EngineError(f"--ray-address {address}: {reason}") from error


@contextmanager
def _mute() -> Iterator[None]:
    """Send standard error nowhere: Ray's core says there that it says nothing. Errors raise."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def check_answers(address: str) -> None:
    """Raise unless somebody listens at the address: Ray itself would wait for minutes."""
    if address in ("local", "auto"):
        return
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or not host or "/" in host:
        raise UsageError(
            f"--ray-address {address}: expected HOST:PORT of the cluster's head (as `ray start "
            "--head` prints it) or auto. Run autolabel on a machine of the cluster, or through "
            "`ray job submit`."
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"--ray-address {address}: no Ray cluster answers there ({error}). Is it running "
            "(`ray status`), and is the port that of its head?"
        ) from error


def _workers(config: RunConfig) -> int:
    """Return how many workers there are to be; raise where the cluster can't have so many."""
    there = ray.cluster_resources()
    gpus, cores = there.get("GPU", 0.0), there.get("CPU", 0.0)
    share = gpu_share(config)
    if config.workers == 0:
        nodes = sum(bool(node["Alive"]) for node in ray.nodes())
        return max(1, int(gpus / share)) if share else nodes
    if share * config.workers > gpus:
        raise UsageError(
            f"--workers {config.workers} with {share:g} GPUs each need {share * config.workers:g}, "
            f"the cluster has {gpus:g}. Ask for fewer, or for --gpus-per-worker less than 1."
        )
    if config.workers > cores:
        raise UsageError(f"--workers {config.workers}: the cluster has {cores:g} CPU cores")
    return config.workers


def gpu_share(config: RunConfig) -> float:
    """Return the GPUs that each worker takes: those asked for, else one where there are any."""
    if config.device == "cpu":
        return 0.0
    if config.gpus_per_worker is not None:
        return config.gpus_per_worker
    return 1.0 if ray.cluster_resources().get("GPU", 0.0) >= 1 else 0.0


def answers(
    orders: Orders, parcels: Iterator[Parcel], workers: int
) -> Generator[Answer, None, None]:
    """Yield the answer to each parcel, as they arrive.

    Raises:
        EngineError: If workers die again and again, or can't be started.
        AutolabelError: If a worker found that the run can't succeed.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_no_progress_timeout_s = -1  # a long video is no standstill
    items = [{"parcel": pack(parcel)} for parcel in parcels]
    results = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        Worker,
        fn_constructor_args=(orders,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(items))),
        num_cpus=1,
        num_gpus=gpu_share(orders.config) or None,
    )
    del items
    batches = results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0)
    try:
        for table in batches:
            for data in table["answer"].to_pylist():
                yield checked(unpack(data), orders.versions)
    except AutolabelError:
        raise
    except Exception as error:  # Ray's own, and whatever Ray Data wraps it in
        raise _told(error) from error


def checked(answer: Answer, versions: dict[str, str]) -> Answer:
    """Return an answer, or raise what is wrong with the worker that gave it."""
    hello = answer.hello
    if hello.versions != versions:
        differ = ", ".join(
            f"{name} {found} (here {versions.get(name)})"
            for name, found in hello.versions.items()
            if versions.get(name) != found
        )
        raise EngineError(
            f"the worker on {hello.host} has other versions: {differ}. Results would depend on "
            "who makes them: install the same versions everywhere."
        )
    if answer.error is not None:
        text = f"the worker on {hello.host}: {answer.error}"
        raise type(answer.error)(text) from answer.error
    return answer


def _told(error: Exception) -> EngineError:
    """Return what an error of Ray means to the user."""
    text = str(error)
    if "No module named 'autolabel" in text:
        return EngineError(
            "a worker of the Ray cluster can't import autolabel: install autolabel[ray], the "
            "same version, on every machine"
        )
    last = text.strip().splitlines()[-1:] or [type(error).__name__]
    return EngineError(
        f"Ray gave up: {last[0]} What was finished is stored: run the same command again to go on."
    )
