"""The measures of tracks in a video, from overlaps and masks alone: J, F, IDF1, HOTA, switches.

Each follows its paper and the code that its authors published, and equals that code's figures
(the tests hold values that TrackEval 1.3.0 gave). TrackEval and Roboflow's ``trackers`` are not
used because they bring ``opencv-python``, a second owner of the ``cv2`` that the headless
package has; ``motmetrics`` has no HOTA.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree

from autolabel import masks
from autolabel.types import RLE, Mask

MATCH_IOU = 0.5
"""From this overlap on, IDF1 and the id switches count a label as the object's."""
ALPHAS = np.arange(0.05, 0.99, 0.05)
"""The overlaps that HOTA averages over."""
TOLERANCE = 0.008
"""How far boundaries may be apart for F, as a share of the picture's diagonal."""
_EPSILON = float(np.finfo(float).eps)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FrameOverlap:
    """Which tracks are in one frame, and how much they overlap.

    Attributes:
        truths: int64 (M,), each truth's track, numbered from 0 in its clip.
        labels: int64 (N,), each label's track, likewise.
        iou: float64 (M, N); 0 where the classes differ.
    """

    truths: Ints
    labels: Ints
    iou: Floats


def _no_counts() -> Floats:
    """Return a zero an alpha."""
    return np.zeros(len(ALPHAS))


@dataclass(frozen=True, slots=True)
class Links:
    """Counts behind IDF1, HOTA and the id switches; those of several clips add up.

    Attributes:
        idtp: Labels that have the identity of the object they cover.
        idfp: Labels that don't.
        idfn: Objects' appearances that no label with their identity covers.
        switches: How often an object's label has another id than the last one it had.
        hits: float64 (19,), labels matched at each of ``ALPHAS``.
        misses: Objects' appearances not matched, likewise.
        extras: Labels not matched, likewise.
        association: Sum over the matched of A(c), likewise.
    """

    idtp: int = 0
    idfp: int = 0
    idfn: int = 0
    switches: int = 0
    hits: Floats = field(default_factory=_no_counts)
    misses: Floats = field(default_factory=_no_counts)
    extras: Floats = field(default_factory=_no_counts)
    association: Floats = field(default_factory=_no_counts)

    def __add__(self, other: Links) -> Links:
        """Return the counts of both."""
        return Links(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    @property
    def idf1(self) -> float:
        """IDF1 = 2 IDTP / (2 IDTP + IDFP + IDFN) (Ristani et al. 2016)."""
        return 2 * self.idtp / max(1, 2 * self.idtp + self.idfp + self.idfn)

    @property
    def hota(self) -> float:
        """HOTA = mean over alpha of sqrt(DetA AssA) (Luiten et al. 2021)."""
        detection = self.hits / np.maximum(1, self.hits + self.misses + self.extras)
        association = self.association / np.maximum(1, self.hits)
        return float(np.sqrt(detection * association).mean())


def link(frames: Sequence[FrameOverlap], truths: int, labels: int) -> Links:
    """Return how well identities are kept through a clip of ``truths`` and ``labels`` tracks."""
    truth_counts, label_counts = np.zeros(truths), np.zeros(labels)
    for frame in frames:
        truth_counts[frame.truths] += 1
        label_counts[frame.labels] += 1
    idtp = _identity_hits(frames, truths, labels)
    return Links(
        idtp,
        int(label_counts.sum()) - idtp,
        int(truth_counts.sum()) - idtp,
        _switches(frames, truths),
        *_hota_counts(frames, truth_counts[:, None], label_counts[None]),
    )


def _identity_hits(frames: Sequence[FrameOverlap], truths: int, labels: int) -> int:
    """Return IDTP: the most frames that any one-to-one mapping of tracks gets right.

    Ristani, Solera, Zou, Cucchiara, Tomasi: Performance Measures and a Data Set for
    Multi-Target, Multi-Camera Tracking, 2016, section 3. The mapping that has the fewest
    false positives and negatives together has the most true positives, as each of these is
    one less of both.
    """
    shared = np.zeros((truths, labels))
    for frame in frames:
        shared[np.ix_(frame.truths, frame.labels)] += frame.iou >= MATCH_IOU
    return int(shared[linear_sum_assignment(shared, maximize=True)].sum())


def _hota_counts(
    frames: Sequence[FrameOverlap], truth_counts: Floats, label_counts: Floats
) -> tuple[Floats, Floats, Floats, Floats]:
    """Return hits, misses, extras and the sum of A(c) at each alpha.

    Luiten et al.: HOTA: A Higher Order Metric for Evaluating Multi-Object Tracking, IJCV 2021:
    frames are matched to maximise the similarity weighted by the tracks' global alignment, and
    a match c counts A(c) = TPA / (TPA + FNA + FPA). Details (one matching for all alphas,
    overlaps shared among rivals) as in TrackEval's ``hota.py``.
    """
    alignment = _alignment(frames, truth_counts, label_counts)
    hits, misses, extras = _no_counts(), _no_counts(), _no_counts()
    matched = np.zeros((len(ALPHAS), *alignment.shape))
    for frame in frames:
        score = alignment[np.ix_(frame.truths, frame.labels)] * frame.iou
        rows, columns = linear_sum_assignment(score, maximize=True)
        right = frame.iou[rows, columns] >= ALPHAS[:, None] - _EPSILON
        matched[:, frame.truths[rows], frame.labels[columns]] += right
        found = right.sum(1)
        hits += found
        misses += len(frame.truths) - found
        extras += len(frame.labels) - found
    share = matched / np.maximum(1, truth_counts + label_counts - matched)
    return hits, misses, extras, (matched * share).sum((1, 2))


def _alignment(
    frames: Sequence[FrameOverlap], truth_counts: Floats, label_counts: Floats
) -> Floats:
    """Return how much each pair of tracks is together through the whole clip, 0 to 1."""
    together = np.zeros((truth_counts.size, label_counts.size))
    for frame in frames:
        iou = frame.iou
        rivals = iou.sum(0)[None] + iou.sum(1)[:, None] - iou
        shared = np.divide(iou, rivals, out=np.zeros_like(iou), where=rivals > _EPSILON)
        together[np.ix_(frame.truths, frame.labels)] += shared
    return together / np.maximum(_EPSILON, truth_counts + label_counts - together)


def _switches(frames: Sequence[FrameOverlap], truths: int) -> int:
    """Return the number of id switches, IDSW.

    Bernardin, Stiefelhagen: Evaluating Multiple Object Tracking Performance: The CLEAR MOT
    Metrics, 2008: an object keeps the label it had in the frame before while they overlap;
    else matching maximises overlap. Details as in TrackEval's ``clear.py``.
    """
    count = 0
    last = np.full(truths, -1)  # the label each object had when it last had one
    before = np.full(truths, -1)  # the label each object had in the frame before
    for frame in frames:
        if not len(frame.truths) or not len(frame.labels):
            continue
        kept = before[frame.truths][:, None] == frame.labels[None]
        score = np.where(frame.iou >= MATCH_IOU - _EPSILON, 1000 * kept + frame.iou, 0.0)
        rows, columns = linear_sum_assignment(score, maximize=True)
        real = score[rows, columns] > _EPSILON
        found, now = frame.truths[rows[real]], frame.labels[columns[real]]
        count += int(((last[found] >= 0) & (last[found] != now)).sum())
        last[found] = now
        before[:] = -1
        before[found] = now
    return count


def boundary_f(truth: RLE, label: RLE) -> float:
    """Return F, the F1 of two masks' boundaries within DAVIS' tolerance.

    Perazzi et al.: A Benchmark Dataset and Evaluation Methodology for Video Object
    Segmentation, 2016; as davis2017-evaluation's ``f_measure``, which widens boundaries by a
    disk: a boundary pixel is right if the other boundary has one within the disk's radius.

    Raises:
        ValueError: If the run lengths are not valid, or sizes differ.
    """
    if (truth.height, truth.width) != (label.height, label.width):
        raise ValueError(f"masks: expected one size, found {truth} and {label}")
    radius = float(np.ceil(TOLERANCE * np.hypot(truth.height, truth.width)))
    ours, theirs = _boundary(label), _boundary(truth)
    if not len(ours) or not len(theirs):
        return float(len(ours) == len(theirs))
    precision = _near(ours, theirs, radius)
    recall = _near(theirs, ours, radius)
    both = precision + recall
    return 2 * precision * recall / both if both else 0.0


def _boundary(rle: RLE) -> Ints:
    """Return row and column of a mask's boundary pixels, int64 (K, 2)."""
    box = masks.tight_box(rle)
    if box is None:
        return np.zeros((0, 2), np.int64)
    x1, y1 = max(0, box[0] - 1), max(0, box[1] - 1)
    crop = masks.decode(rle)[y1 : box[3] + 1, x1 : box[2] + 1]
    found: Ints = np.argwhere(boundary_map(crop)) + np.array([y1, x1])
    return found


def boundary_map(mask: Mask) -> Mask:
    """Return a mask's boundary, one pixel wide, half a pixel towards the origin.

    David Martin's ``seg2bmap`` as DAVIS has it: a pixel that differs from its neighbour to the
    right, below or both. The picture's own border is no boundary.
    """
    edge = np.zeros_like(mask)
    edge[:-1, :-1] = (
        (mask[:-1, :-1] ^ mask[:-1, 1:])
        | (mask[:-1, :-1] ^ mask[1:, :-1])
        | (mask[:-1, :-1] ^ mask[1:, 1:])
    )
    edge[-1, :-1] = mask[-1, :-1] ^ mask[-1, 1:]
    edge[:-1, -1] = mask[:-1, -1] ^ mask[1:, -1]
    return edge


def _near(points: Ints, others: Ints, radius: float) -> float:
    """Return the share of points with one of the others within a radius."""
    distance, _ = KDTree(others).query(points, distance_upper_bound=radius + 0.5)
    return float((distance <= radius).mean())
