"""Maps for the page: what is read back is what was there to 1/255, the strongest is the strongest, words are sums."""

import base64

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from training.probes.attention_maps import AttentionMaps, BothWays
from training.report.maps import pack, pack_maps


def unpack(packed, shape):
    scales = np.frombuffer(base64.b64decode(packed["scales"]), "<f4")
    codes = np.frombuffer(base64.b64decode(packed["codes"]), np.uint8)
    return (codes.reshape(-1, shape[-1]) * scales[:, None]).reshape(shape)


@settings(max_examples=60, deadline=None)
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 7)),
        elements=st.floats(0, 1, width=32),
    )
)
def test_what_is_read_back_is_near_and_has_the_same_strongest(values):
    found = unpack(pack(values), values.shape)
    assert (np.abs(found - values) <= values.max(axis=-1, keepdims=True) / 254.9 + 1e-30).all()
    shown = values.max(axis=-1) > 1e-30
    assert (found.argmax(axis=-1) == values.argmax(axis=-1))[shown].all()


def test_words_have_the_sums_of_their_pieces_and_the_mean_of_heads_comes_first():
    rng = np.random.default_rng(0)
    attention = BothWays(
        text_to_regions=rng.random((2, 3, 5, 4), np.float32), regions_to_text=rng.random((2, 3, 4, 5), np.float32)
    )
    maps = AttentionMaps(
        sentence_id="s",
        image_id="i",
        text="dogs run",
        starts=np.array([0, 0, 3, 5, 0], np.int32),
        ends=np.array([0, 3, 4, 8, 0], np.int32),
        attention=attention,
        rollout=None,
        alignment=rng.random((5, 4), np.float32),
    )
    packed = pack_maps(maps, [(0, 4), (5, 8), (9, 12)], with_answer=True)
    assert (packed["layers"], packed["heads"], packed["pieces"]) == (2, 3, [2, 1, 0, 1])  # the third word was cut
    assert packed["rollout"] is None
    forth = unpack(packed["attention"]["text_to_regions"], (2, 4, 4, 4))
    back = unpack(packed["attention"]["regions_to_text"], (2, 4, 4, 4))
    np.testing.assert_allclose(forth[:, 1:, 0], attention.text_to_regions[:, :, [1, 2]].sum(2), atol=0.01)
    np.testing.assert_allclose(forth[:, 0, 1], attention.text_to_regions[:, :, 3].mean(1), atol=0.01)
    np.testing.assert_array_equal(forth[:, :, 2], 0)
    np.testing.assert_allclose(forth[:, 0, 3], attention.text_to_regions[:, :, 0].mean(1), atol=0.01)
    np.testing.assert_allclose(back[:, 1:, :, 0], attention.regions_to_text[..., [1, 2]].sum(3), atol=0.01)
    decoder = unpack(packed["alignment"]["text_to_regions"], (4, 4))
    np.testing.assert_allclose(decoder[1], maps.alignment[3], atol=0.01)


def test_a_sentence_of_twenty_words_on_36_regions_costs_373_kilobytes_at_base_size():
    rng = np.random.default_rng(0)
    both = BothWays(
        text_to_regions=rng.random((12, 12, 22, 36), np.float32),
        regions_to_text=rng.random((12, 12, 36, 22), np.float32),
    )
    starts = np.array([0, *range(0, 80, 4), 0], np.int32)
    maps = AttentionMaps(
        sentence_id="s",
        image_id="i",
        text="red " * 20,
        starts=starts,
        ends=np.array([0, *range(3, 83, 4), 0], np.int32),
        attention=both,
        rollout=BothWays(text_to_regions=both.text_to_regions[:, 0], regions_to_text=both.regions_to_text[:, 0]),
        alignment=None,
    )
    packed = pack_maps(maps, [(start, start + 3) for start in range(0, 80, 4)], with_answer=False)
    parts = [packed[kind][way] for kind in ("attention", "rollout") for way in ("text_to_regions", "regions_to_text")]
    assert sum(len(text) for part in parts for text in part.values()) == 372_736
