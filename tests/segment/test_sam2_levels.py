"""A picture's features without what nobody reads, beside those that SAM 2 makes."""

import pytest
import torch

from autolabel.models.sam2_levels import LevelEncoder, all_levels, fits, levels_of
from benchmarks.small_sam2 import SAM2, SAM21, small_predictor


@pytest.fixture(scope="module", params=[SAM2, SAM21])
def model(request):
    return small_predictor(request.param, image_size=128, embed_dim=16)


@torch.no_grad()
def test_features_of_several_pictures_are_the_models(model):
    images = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    want, got = all_levels(model, images), LevelEncoder(model)(images)
    assert [tuple(each.shape) for each in got.maps] == [
        (2, 32, 32, 32),
        (2, 64, 16, 16),
        (2, 256, 8, 8),
    ]
    assert got.position.shape == (1, 256, 8, 8)
    for a, b in zip((*want.maps, want.position), (*got.maps, got.position), strict=True):
        assert float((a - b).abs().max()) <= 1e-5 * float(a.std())


@torch.no_grad()
def test_a_model_with_another_neck_gives_its_own_features(model):
    assert fits(model)  # else labelling would be right, but slower
    neck = model.image_encoder.neck
    levels = neck.fpn_top_down_levels
    try:
        neck.fpn_top_down_levels = [0, 1, 2, 3]
        assert not fits(model)
        image = torch.ones(1, 3, 128, 128)
        want, got = all_levels(model, image), levels_of(model)(image)
        assert all(torch.equal(a, b) for a, b in zip(want.maps, got.maps, strict=True))
    finally:
        neck.fpn_top_down_levels = levels
