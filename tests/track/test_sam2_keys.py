"""Keys of memories, computed once and kept, beside those that SAM 2 computes in every frame."""

import pytest
import torch

from autolabel.track import sam2_attention
from autolabel.track.sam2_keys import MemoryKeys
from autolabel.track.sam2_memory import Memory, Recall
from benchmarks.small_sam2 import SAM2, SAM21, small_predictor

SLOTS, PLACES, WIDTH = 7, 64, 64


@pytest.fixture(scope="module", params=[SAM2, SAM21])
def model(request):
    return small_predictor(request.param, image_size=128, embed_dim=16)


@pytest.fixture(scope="module")
def positions():
    return torch.randn(SLOTS, PLACES, WIDTH, generator=torch.Generator().manual_seed(3))


def recall() -> Recall:
    """Three memories in the slots of a prompted frame, the one farthest away and the last."""
    generator = torch.Generator().manual_seed(4)
    tokens = torch.randn(3, PLACES, WIDTH, generator=generator).bfloat16()
    memories = tuple(Memory(each, torch.zeros(256)) for each in tokens)
    return Recall(slots=(0, 1, 6), memories=memories, ages=(), pointers=())


def written(keys: MemoryKeys, what: Recall, layer: int) -> torch.Tensor:
    out = torch.full((3 * PLACES, 256), torch.nan)
    keys.write(layer, what, out)
    return out


def test_released_attention_is_not_taken_for_another(model):
    # Where it were, tracking would still be right, but a good deal slower.
    assert sam2_attention.fits(model.memory_attention)


@torch.no_grad()
def test_kept_keys_are_those_of_the_model(model, positions):
    what = recall()
    kept = MemoryKeys(model.memory_attention, positions)
    fresh = MemoryKeys(model.memory_attention, positions, most_places=PLACES - 1)
    assert (kept.kept, fresh.kept) == (True, False)
    for number, layer in enumerate(model.memory_attention.layers):
        attention = layer.cross_attn_image
        placed = [
            m.tokens.float() + positions[s] for s, m in zip(what.slots, what.memories, strict=True)
        ]
        # (1, heads, tokens, C), as RoPEAttention.forward (sam2 1.1.0) has them.
        flat = attention.k_proj(torch.cat(placed))[None, None]
        turns = attention.compute_cis(end_x=8, end_y=8).repeat(3, 1)
        pairs = torch.view_as_complex(flat.reshape(1, 1, 3 * PLACES, -1, 2))
        want = torch.view_as_real(pairs * turns).flatten(3)[0, 0]
        assert torch.allclose(written(kept, what, number), want, atol=1e-5)
        assert torch.allclose(written(fresh, what, number), want, atol=1e-5)
    assert all(m.keys.shape == (2, PLACES, 256) for m in what.memories)


@torch.no_grad()
def test_a_kept_key_is_bit_for_bit_what_a_run_that_goes_on_makes_anew(model, positions):
    keys = MemoryKeys(model.memory_attention, positions)
    before, after = recall(), recall()
    first = written(keys, before, 1)
    # Another recall of the same memories, as after a kill: nothing was kept.
    assert torch.equal(written(keys, before, 1), first)
    assert torch.equal(written(keys, after, 1), first)
