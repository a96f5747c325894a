"""Descriptions of one image joined into sentences: words, spans, shares, repetitions."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.guards.drops import Drops
from annotations.merging import merge_descriptions
from annotations.records import Pointer, Sentence, SentenceImage


def describe(number, text, box=None, *, image_id="7", kind="region", more=()):
    left = float(10 * number)
    pointer = Pointer(start=0, end=len(text), boxes_xyxy=(box or (left, 0.0, left + 9, 9.0),), object_id=str(number))
    return Sentence(
        sentence_id=str(number),
        images=(SentenceImage(image_id=image_id),),
        text=text,
        source="visual-genome",
        split="train",
        pointers=(pointer, *more),
        details={"kind": kind, "region_id": number},
    )


def merge(*sentences, seed=0, **options):
    drops = Drops()
    return merge_descriptions(sentences, seed=seed, drops=drops, **options), drops


def spoken(sentence):
    return [sentence.text[each.start : each.end] for each in sentence.pointers]


def test_descriptions_are_joined_with_and():
    (merged,), _ = merge(
        describe(1, "The clock is GREEN."), describe(2, "a man  on a bike !"), describe(3, "trees"), shares=(0, 0, 1)
    )
    assert sorted(merged.text.split(" and ")) == ["a man on a bike", "the clock is green", "trees"]
    assert sorted(spoken(merged)) == ["a man on a bike", "the clock is green", "trees"]
    assert merged.sentence_id == "+".join(str(each) for each in merged.details["region_ids"])
    assert merged.details["kind"] == "merged"


def test_a_pointer_inside_a_description_stays_on_its_words():
    clock = Pointer(start=5, end=10, boxes_xyxy=((0.0, 0.0, 1.0, 1.0),))
    merged, _ = merge(describe(1, "The CLOCK, here."), describe(2, "The  clock.", more=(clock,)), shares=(0, 1))
    assert sorted(spoken(merged[0])) == sorted(["the clock, here", "the clock", "clock"])


@pytest.mark.parametrize(
    ("box", "is_dropped"),
    [((10.0, 0.0, 19.0, 9.0), True), ((10.0, 0.0, 19.0, 5.0), False), ((50.0, 0.0, 59.0, 9.0), False)],
)
def test_the_same_words_at_the_same_place_are_said_once(box, is_dropped):
    merged, drops = merge(describe(1, "A clock."), describe(2, "a clock", box), shares=(1,))
    assert len(merged) == 2 - is_dropped
    assert drops.counts == ({"description: repeats another at the same place": 1} if is_dropped else {})


def test_a_description_of_punctuation_is_counted():
    merged, drops = merge(describe(1, " ... "), shares=(1,))
    assert merged == []
    assert drops.counts == {"description: no words": 1}


def test_other_sentences_come_after_and_stay_as_they_are():
    question = describe(9, "What is it?", kind="qa")
    merged, _ = merge(question, describe(1, "a clock"))
    assert merged[1] == question
    assert merge(question)[0] == [question]


def test_the_draw_depends_on_the_seed_and_the_image_alone():
    given = [describe(number, f"thing {number}") for number in range(20)]
    assert merge(*given)[0] == merge(*given)[0]
    assert merge(*given)[0] != merge(*given, seed=1)[0]
    elsewhere = [describe(number, f"thing {number}", image_id="8") for number in range(20)]
    assert [each.text for each in merge(*given)[0]] != [each.text for each in merge(*elsewhere)[0]]


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.5, 0.5), (0.2, 0, 0.8)])
def test_sentences_come_in_the_shares_asked_for(shares):
    counts = [0] * len(shares)
    for image in range(150):
        given = [describe(number, f"thing {number}", image_id=str(image)) for number in range(30)]
        for merged in merge(*given, shares=shares)[0][:-1]:  # the last of an image takes what is left
            counts[len(merged.pointers) - 1] += 1
    assert [count / sum(counts) for count in counts] == pytest.approx(shares, abs=0.05)


@pytest.mark.parametrize("shares", [(), (0, 0), (-1, 2)])
def test_impossible_shares_are_refused(shares):
    with pytest.raises(ValueError, match="shares are"):
        merge(describe(1, "a clock"), shares=shares)


def test_a_capital_that_becomes_two_letters_moves_what_comes_after_it():
    bridge = Pointer(start=9, end=15, boxes_xyxy=((0.0, 0.0, 1.0, 1.0),))
    (merged,), _ = merge(describe(1, "\u0130STANBUL BRIDGE.", more=(bridge,)), shares=(1,))
    assert merged.text == "i\u0307stanbul bridge"
    assert spoken(merged) == ["i\u0307stanbul bridge", "bridge"]


def squeezed(text):
    """Return the text in lower case, letter by letter, with no white space at all."""
    return "".join(character.lower() for character in text if not character.isspace())


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=15).map(str.strip).filter(bool)
texts |= st.text("aB\u0130\u1e9e .,", min_size=1, max_size=15).map(str.strip).filter(bool)


@settings(max_examples=150, deadline=None)
@given(texts=st.lists(texts, min_size=1, max_size=6), data=st.data())
def test_every_pointer_keeps_its_words(texts, data):
    sentences, inner_of = [], {}
    for number, text in enumerate(texts):
        start = data.draw(st.integers(0, len(text) - 1))
        end = data.draw(st.integers(start + 1, len(text)))
        inner = Pointer(start=start, end=end, boxes_xyxy=(), object_id=f"inner {number}")
        sentences.append(describe(number, text, more=(inner,)))
        words = re.sub(r"[\s.,;:!?]+$", "", text)
        inner_of[number] = squeezed(words), squeezed(words[start:end])
    merged, drops = merge(*sentences)
    kept = [number for each in merged for number in each.details["region_ids"]]
    assert len(kept) + drops.counts.total() == len(texts)
    said = {
        pointer.object_id: squeezed(each.text[pointer.start : pointer.end])
        for each in merged
        for pointer in each.pointers
    }
    for number in kept:
        whole, part = inner_of[number]
        assert said.pop(str(number)) == whole
        assert said.pop(f"inner {number}", "") == part
    assert not said
