"""Texts to word pieces and back to characters: WordPiece, byte-level BPE, and a tokenizer of our own."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from annotations.guards.drops import DataError
from training.data.tokenizer import load_tokenizer, train_tokenizer

ROOT = Path(__file__).parents[3]
VOCABULARY = Path(os.environ.get("VINCULUM_TEST_DATA", ROOT / "../shared/data")) / "vocab/bert-base-uncased-vocab.txt"
needs_bert = pytest.mark.skipif(not VOCABULARY.exists(), reason=f"no {VOCABULARY}; set VINCULUM_TEST_DATA")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
TEXTS = ["a man and two dogs", "the man's red t-shirt", "what is on the table?", "dogs run, dogs jump"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory):
    return [load_tokenizer(str(VOCABULARY)), load_tokenizer(str(train_bytes(tmp_path_factory.mktemp("bytes"))))]


def words_of(folder, *more):
    """Return a WordPiece tokenizer of these few pieces."""
    path = folder / "vocab.txt"
    path.write_text("\n".join([*SPECIAL, *more]) + "\n", encoding="utf-8")
    return load_tokenizer(str(path))


def read(tokenizer, text, *, max_pieces=100):
    """Return each piece of a text with the characters that it is."""
    (pieces,) = tokenizer.encode([text], max_pieces=max_pieces)
    return [
        (tokenizer.backend.id_to_token(int(number)), text[start:end])
        for number, start, end in zip(pieces.ids, pieces.starts, pieces.ends, strict=True)
    ]


def test_pieces_know_their_characters(tmp_path):
    tokenizer = words_of(tmp_path, "the", "play", "##er", "##s", "'", "hat", "-", "cafe")
    assert read(tokenizer, "The players'  hats-café") == [
        ("the", "The"), ("play", "play"), ("##er", "er"), ("##s", "s"), ("'", "'"), ("hat", "hat"), ("##s", "s"),
        ("-", "-"), ("cafe", "café"),
    ]  # fmt: skip


def test_a_word_outside_the_vocabulary_is_one_unknown_piece(tmp_path):
    tokenizer = words_of(tmp_path, "a", "dog")
    assert read(tokenizer, "a zyxt dog 🐕") == [("a", "a"), ("[UNK]", "zyxt"), ("dog", "dog"), ("[UNK]", "🐕")]
    assert tokenizer.unknown_id == 1
    assert tokenizer.unknown_id not in tokenizer.special_ids


def test_a_text_is_cut_and_says_how_much_of_it(tmp_path):
    tokenizer = words_of(tmp_path, "a")
    whole, cut, empty = tokenizer.encode(["a " * 3, "a " * 500, ""], max_pieces=18)
    assert (len(whole.ids), whole.num_cut) == (3, 0)
    assert (len(cut.ids), len(cut.starts), cut.num_cut) == (18, 18, 482)
    assert cut.ends[-1] == 35
    assert (len(empty.ids), len(empty.starts), len(empty.ends), empty.num_cut) == (0, 0, 0, 0)


def test_no_special_pieces_and_no_padding_are_added(tmp_path):
    tokenizer = words_of(tmp_path, "a")
    assert [each.ids.tolist() for each in tokenizer.encode(["a", "a a a"], max_pieces=9)] == [[5], [5, 5, 5]]
    assert tokenizer.special_ids == {0, 2, 3, 4}
    assert tokenizer.vocab_size == 6


@needs_bert
@pytest.mark.parametrize("special", SPECIAL)
def test_a_caption_that_says_a_special_piece_is_ordinary_text(special):
    tokenizer = load_tokenizer(str(VOCABULARY))
    found = read(tokenizer, f"the {special} tag")
    assert [piece for piece, _ in found if piece in SPECIAL] == []
    assert found[1] == ("[", "[")
    assert "".join(characters for _, characters in found) == f"the{special}tag"


@needs_bert
def test_the_vocabulary_of_bert_has_its_known_ids():
    tokenizer = load_tokenizer(str(VOCABULARY))
    assert tokenizer.vocab_size == 30522
    assert (tokenizer.padding_id, tokenizer.classify_id, tokenizer.separate_id, tokenizer.mask_id) == (0, 101, 102, 103)
    assert tokenizer.unknown_id == 100
    (pieces,) = tokenizer.encode(["A man's T-shirt"], max_pieces=18)
    assert pieces.ids.tolist() == [1037, 2158, 1005, 1055, 1056, 1011, 3797]


@needs_bert
@settings(deadline=None, max_examples=60)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_pieces_of_any_text_follow_each_other(text, tokenizers):
    for tokenizer in tokenizers:
        (pieces,) = tokenizer.encode([text], max_pieces=18)
        assert (pieces.starts <= pieces.ends).all()
        assert (pieces.starts[1:] >= pieces.starts[:-1]).all()
        assert (pieces.ends[1:] >= pieces.ends[:-1]).all()
        assert not set(pieces.ids.tolist()) & tokenizer.special_ids
        if len(pieces.ids):
            assert pieces.starts[0] >= 0
            assert pieces.ends[-1] <= len(text)


def test_bytes_of_one_letter_share_its_characters(tmp_path):
    tokenizer = load_tokenizer(str(train_bytes(tmp_path)))
    assert read(tokenizer, " dogs") == [("Ġdogs", " dogs")]
    found = read(tokenizer, "🐕 man")
    assert [characters for _, characters in found] == ["🐕"] * (len(found) - 1) + [" man"]
    assert len(found) > 2


def test_a_tokenizer_of_our_own_is_saved_and_found_again(tmp_path):
    trained = train_tokenizer(TEXTS, vocab_size=60)
    assert trained.vocab_size <= 60
    assert (trained.padding_id, trained.unknown_id, trained.classify_id, trained.separate_id, trained.mask_id) == (
        0, 1, 2, 3, 4
    )  # fmt: skip
    trained.save(tmp_path)
    for name in (tmp_path, tmp_path / "tokenizer.json"):
        loaded = load_tokenizer(str(name))
        for text in (*TEXTS, "The Man [MASK] zyxt"):
            assert read(loaded, text) == read(trained, text)
        assert loaded.special_ids == trained.special_ids
    assert read(loaded, "[MASK]")[0] != ("[MASK]", "[MASK]")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("vocab.txt", "a\nb\n[MASK]\n", r"has no piece \[PAD\], \[UNK\], \[CLS\], \[SEP\]\)"),
        ("tokenizer.json", '{"version": 1', "cannot be loaded"),
        ("tokenizer.json", "[]", "cannot be loaded"),
    ],
)
def test_a_file_that_is_no_tokenizer_is_refused_by_name(name, content, message, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=f"{name}.*{message}"):
        load_tokenizer(str(tmp_path / name))


def test_a_tokenizer_without_special_pieces_is_refused(tmp_path):
    backend = Tokenizer(models.WordPiece({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(DataError, match=r"has no piece \[PAD\], \[CLS\], \[SEP\], \[MASK\]"):
        load_tokenizer(str(tmp_path))


def train_bytes(folder):
    """Return the path of a byte-level BPE that knows a few words."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIAL,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([f" {text}" for text in TEXTS] * 3, trainer)
    path = folder / "tokenizer.json"
    backend.save(str(path))
    return path
