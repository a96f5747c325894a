"""Texts to word pieces that remember which characters they are, by Hugging Face's fast tokenizers or one of our own."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, BertTokenizer, PreTrainedTokenizerFast

from annotations.guards.drops import DataError
from stores.atomic import replacing

FILE_NAME = "tokenizer.json"

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True, kw_only=True, eq=False)
class Pieces:
    """The word pieces of one text, without special ones."""

    ids: NDArray[np.int64]
    """int64 [pieces]."""
    starts: NDArray[np.int32]
    """int32 [pieces]; first character."""
    ends: NDArray[np.int32]
    """int32 [pieces]; one past the last character."""
    num_cut: int
    """Pieces beyond the limit, that are lost."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextTokenizer:
    """A tokenizer and the ids of its special pieces."""

    backend: Tokenizer
    padding_id: int
    classify_id: int
    """[CLS], which begins every sentence."""
    separate_id: int
    """[SEP], which ends it."""
    mask_id: int
    unknown_id: int | None

    @property
    def vocab_size(self) -> int:
        return int(self.backend.get_vocab_size(with_added_tokens=True))

    @property
    def special_ids(self) -> frozenset[int]:
        """The ids that no sentence's pieces have, and that are never masked."""
        return frozenset((self.padding_id, self.classify_id, self.separate_id, self.mask_id))

    def encode(self, texts: Sequence[str], *, max_pieces: int) -> list[Pieces]:
        """Return the first `max_pieces` pieces of every text."""
        encodings = self.backend.encode_batch(list(texts), add_special_tokens=False)
        pieces = []
        for encoding in encodings:
            spans = np.array(encoding.offsets[:max_pieces], np.int32).reshape(-1, 2)
            pieces.append(
                Pieces(
                    ids=np.array(encoding.ids[:max_pieces], np.int64),
                    starts=spans[:, 0],
                    ends=spans[:, 1],
                    num_cut=max(0, len(encoding.ids) - max_pieces),
                )
            )
        return pieces

    def save(self, folder: Path) -> None:
        """`folder` holds the tokenizer as Hugging Face's `tokenizer.json`."""
        with replacing(folder / FILE_NAME) as temporary:
            temporary.write_text(self.backend.to_str(pretty=True), encoding="utf-8")


def load_tokenizer(name: str) -> TextTokenizer:
    """Return a tokenizer by its Hugging Face name, or from a folder, a `tokenizer.json` or a WordPiece `vocab.txt`.

    Raises:
        DataError: there is none of this name, it has no fast version, or it lacks one of the special pieces.
    """
    return _checked(name, _load(name))


def train_tokenizer(texts: Iterable[str], *, vocab_size: int) -> TextTokenizer:
    """Return a lower-casing WordPiece tokenizer of at most `vocab_size` pieces, learnt from the texts.

    The same texts, in any order, give the same pieces.
    """
    learner, texts = _lower_casing({}), sorted(texts)
    # Letters within words would be numbered in the order of a hash table, another one every time, and pieces that are
    # equally frequent would be joined in the order of these numbers. Special pieces are numbered as they are given.
    given = [*_SPECIAL, *_letters_within_words(learner, texts)]
    trainer = trainers.WordPieceTrainer(vocab_size=vocab_size, special_tokens=given, show_progress=False)
    learner.train_from_iterator(texts, trainer)
    return _checked("the trained tokenizer", _with_names(_lower_casing(learner.get_vocab())))


def _lower_casing(vocabulary: dict[str, int]) -> Tokenizer:
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens([piece for piece in _SPECIAL if piece in vocabulary])
    return backend


def _letters_within_words(backend: Tokenizer, texts: Iterable[str]) -> list[str]:
    normalized = map(backend.normalizer.normalize_str, texts)
    words = {word for text in normalized for word, _ in backend.pre_tokenizer.pre_tokenize_str(text)}
    return sorted({f"##{letter}" for word in words for letter in word[1:]})


def _load(name: str) -> PreTrainedTokenizerFast:
    path = Path(name)
    try:
        if path.is_file() and path.suffix == ".txt":
            _require_special(path.read_text(encoding="utf-8").splitlines())
            return BertTokenizer(vocab=str(path))
        if path.is_file():
            return _with_names(Tokenizer.from_file(str(path)))
        if (path / FILE_NAME).is_file() and not (path / "tokenizer_config.json").is_file():
            return _with_names(Tokenizer.from_file(str(path / FILE_NAME)))
        loaded = AutoTokenizer.from_pretrained(name, use_fast=True)
    except Exception as error:
        raise DataError(
            f"tokenizer {name!r}: cannot be loaded ({error}); expected a Hugging Face name or folder, "
            "a tokenizer.json or a vocab.txt"
        ) from error
    if not isinstance(loaded, PreTrainedTokenizerFast):
        raise DataError(f"tokenizer {name!r}: has no fast version, expected one; words need its character offsets")
    return loaded


def _with_names(backend: Tokenizer) -> PreTrainedTokenizerFast:
    _require_special(backend.get_vocab())
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    return PreTrainedTokenizerFast(tokenizer_object=backend, **dict(zip(names, _SPECIAL, strict=True)))


def _require_special(pieces: Collection[str]) -> None:
    # Hugging Face would add those that are not there: pieces that no weights know.
    missing = [piece for piece in _SPECIAL if piece not in pieces]
    if missing:
        raise ValueError(f"it has no piece {', '.join(missing)}")


def _checked(name: str, loaded: PreTrainedTokenizerFast) -> TextTokenizer:
    backend = loaded.backend_tokenizer
    backend.no_padding()
    backend.no_truncation()
    backend.encode_special_tokens = True  # a caption that says "[MASK]" is four words of text, not a mask
    roles = {role: getattr(loaded, f"{role}_token_id") for role in ("pad", "cls", "sep", "mask")}
    missing = [role for role, number in roles.items() if number is None or backend.id_to_token(number) is None]
    if missing:
        raise DataError(f"tokenizer {name!r}: has no {', '.join(missing)} piece, expected [PAD], [CLS], [SEP], [MASK]")
    return TextTokenizer(
        backend=backend,
        padding_id=roles["pad"],
        classify_id=roles["cls"],
        separate_id=roles["sep"],
        mask_id=roles["mask"],
        unknown_id=loaded.unk_token_id,
    )
