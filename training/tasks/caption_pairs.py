"""Batches of two captions and an image: both belong to it, or one of them is a caption of an image that looks alike.

Source: Samaran et al., ACL-IJCNLP SRW 2021, section 3, and its public code: as many pairs of an image's own captions as
pairs of one of them with one of its nearest neighbour. In a pair that is kept, phrases that name the same thing are
paired too; when the captions change places, so do the relations between them.

Axes: B pairs, L word pieces, P pointed words, R regions, I images, D feature_dim.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from annotations.datasets.vgp import REVERSED, TYPES
from annotations.records import Pointer, Sentence, Split
from stores.formats.training_rows import StoredPhrases, TrainingSentence
from training.batch import Batch, PhrasePairs
from training.data.batches import random_stream
from training.data.grounding import make_grounding
from training.data.maker_options import CaptionPairOptions
from training.data.shards import JoinedShards
from training.data.targets import AlignedRow, make_alignment
from training.data.tokenizer import Pieces, TextTokenizer

SOURCE = "vgp-entities"

BOTH, FIRST, SECOND = range(3)
"""Which captions belong to the image."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Caption:
    """One of a sentence's two captions, with its pointed words."""

    text: str
    sentence: TrainingSentence
    words: NDArray[np.int64]
    """int64 [P]; which of the sentence's words are this caption's."""
    phrases: StoredPhrases | None
    """Those of the sentence that are this caption's; None: the store does not hold them."""
    begin: int
    """Where it begins in the sentence."""
    is_own: bool = True
    """Whether it belongs to the image; if not, its words point nowhere."""


class CaptionPairMaker:
    """Makes batches of sentences of `vgp-entities`; may be carried over a fork."""

    def __init__(
        self,
        shards: JoinedShards,
        tokenizer: TextTokenizer,
        options: CaptionPairOptions,
        *,
        seed: int = 0,
    ) -> None:
        """Find the sentences of every image, and the image that looks most like it."""
        self.shards, self.tokenizer, self.options, self._seed = shards, tokenizer, options, seed
        self._of_image: dict[int, NDArray[np.int64]] = {}
        self._nearest: dict[int, int] = {}
        for of_image in _sentences_by_image(shards).values():
            self._of_image |= of_image
            self._nearest |= nearest_images(shards, sorted(of_image)) if options.mismatch else {}

    def make(self, numbers: NDArray[np.int64], *, step: int = 0, positions: NDArray[np.int64] | None = None) -> Batch:
        """Return the pairs of one step's sentences, or of those of them that a rank takes; see `BatchMaker.make`.

        `mismatch` of the options is the share of pairs of which one caption is exchanged.
        """
        positions = np.arange(len(numbers)) if positions is None else positions
        rows = [self._row(int(numbers[each]), random_stream(self._seed, step, int(each))) for each in positions]
        encoded = [self._encode(row.captions) for row in rows]
        lengths = np.array([len(pieces.ids) + 2 for pieces, _ in encoded])
        shape = len(rows), int(lengths.max())
        ids_BL, segments_BL = np.full(shape, self.tokenizer.padding_id, np.int64), np.zeros(shape, np.int64)
        for row, (pieces, num_first) in enumerate(encoded):
            ids_BL[row, 0], ids_BL[row, lengths[row] - 1] = self.tokenizer.classify_id, self.tokenizer.separate_id
            ids_BL[row, 1 : lengths[row] - 1] = pieces.ids
            segments_BL[row, num_first + 2 : lengths[row]] = 1
        side = self.shards.side.fields([row.image_number for row in rows], [row.num_regions for row in rows])
        aligned = [
            AlignedRow(row=i, number=row.number, image=0, sentence=join_captions(*row.captions), pieces=pieces)
            for i, (row, (pieces, _)) in enumerate(zip(rows, encoded, strict=True))
        ]
        is_region_BR, options = side.region_mask.numpy(), self.options
        return Batch(
            sentence_ids=tuple(each.sentence.sentence_id for each in aligned),
            image_ids=tuple(self.shards.side.image_ids[row.image_number] for row in rows),
            input_ids=torch.from_numpy(ids_BL),
            text_mask=torch.from_numpy(np.arange(shape[1]) < lengths[:, None]),
            segment_ids=torch.from_numpy(segments_BL),
            **side.tensors(),
            is_matched=torch.tensor([row.label == BOTH for row in rows]),
            answer_ids=torch.full((len(rows),), -100),
            alignment=None
            if options.targets is None
            else make_alignment(aligned, options.targets, length=shape[1], is_region=is_region_BR, seed=self._seed),
            grounding=None
            if options.grounding is None
            else make_grounding(aligned, options.grounding, is_region=is_region_BR, seed=self._seed),
            caption_labels=torch.tensor([row.label for row in rows]),
            phrase_pairs=_pair_phrases(rows, [pieces for pieces, _ in encoded]),
        )

    def _row(self, number: int, draw: np.random.Generator) -> "_Row":
        """Return a sentence's captions, one of them exchanged or not, in either order."""
        captions = split_captions(self.shards.read(number))
        (image,) = self.shards.images_of(number)
        (num_regions,) = self.shards.num_regions_of(number)
        is_turned = bool(draw.random() < 0.5)
        label, whole = BOTH, None
        if draw.random() < self.options.mismatch and int(image) in self._nearest:
            foreign = split_captions(self.shards.read(int(draw.choice(self._of_image[self._nearest[int(image)]]))))
            captions = captions[draw.integers(2)], _without_pointers(foreign[draw.integers(2)])
            label = SECOND if is_turned else FIRST
        else:
            whole = self.shards.sentences.read(*self.shards.place(number)).sentence
        return _Row(
            number=number,
            captions=captions[::-1] if is_turned else captions,
            label=label,
            image_number=int(image),
            num_regions=int(num_regions),
            is_turned=is_turned,
            whole=whole,
        )

    def _encode(self, captions: tuple[Caption, Caption]) -> tuple[Pieces, int]:
        """Return the pieces of both with the [SEP] between them, and how many are the first's; the longer is cut."""
        first, second = self.tokenizer.encode([each.text for each in captions], max_pieces=self.options.max_pieces)
        room = self.options.max_pieces - 3
        num_first, num_second = _share(len(first.ids), len(second.ids), room)
        begin = len(captions[0].text) + 1
        separator = np.array([begin - 1], np.int32)
        pieces = Pieces(
            ids=np.concatenate([first.ids[:num_first], [self.tokenizer.separate_id], second.ids[:num_second]]),
            starts=np.concatenate([first.starts[:num_first], separator, second.starts[:num_second] + begin]),
            ends=np.concatenate([first.ends[:num_first], separator + 1, second.ends[:num_second] + begin]),
            num_cut=first.num_cut + second.num_cut + len(first.ids) + len(second.ids) - num_first - num_second,
        )
        return pieces, num_first


@dataclass(frozen=True, kw_only=True, eq=False)
class _Row:
    """A row of a batch in the making."""

    number: int
    captions: tuple[Caption, Caption]
    """In the order in which they are read."""
    label: int
    image_number: int
    num_regions: int
    is_turned: bool
    """Whether the second caption of the file is read first."""
    whole: Sentence | None
    """With its phrase pairs; None where a caption was exchanged."""


def split_captions(sentence: TrainingSentence) -> tuple[Caption, Caption]:
    """Return the two captions of a sentence, which its text has one a line."""
    begin = sentence.text.index("\n") + 1
    is_second, phrases = sentence.word_starts >= begin, sentence.phrases
    return (
        Caption(
            text=sentence.text[: begin - 1],
            sentence=sentence,
            words=np.flatnonzero(~is_second),
            phrases=None if phrases is None else phrases[phrases.starts < begin],
            begin=0,
        ),
        Caption(
            text=sentence.text[begin:],
            sentence=sentence,
            words=np.flatnonzero(is_second),
            phrases=None if phrases is None else phrases[phrases.starts >= begin],
            begin=begin,
        ),
    )


def join_captions(first: Caption, second: Caption) -> TrainingSentence:
    """Return one sentence of both, one a line, with the pointed words and phrases of those that belong to the image."""
    begin = len(first.text) + 1
    parts = [(first, -first.begin), (second, begin - second.begin)]
    own = first if first.is_own else second

    def joined(name: str, *, is_place: bool = False) -> NDArray[Any]:
        return np.concatenate(
            [
                getattr(caption.sentence, name)[caption.words] + (shift if is_place else 0)
                for caption, shift in parts
                if caption.is_own
            ]
        )

    return TrainingSentence(
        sentence_id=own.sentence.sentence_id,
        image_ids=own.sentence.image_ids,
        text=f"{first.text}\n{second.text}",
        answers=(),
        answer_weights=(),
        word_starts=joined("word_starts", is_place=True),
        word_ends=joined("word_ends", is_place=True),
        word_images=joined("word_images"),
        word_in_answer=joined("word_in_answer").astype(bool),
        position=joined("position"),
        semantic=joined("semantic"),
        phrases=_join_phrases([(caption.phrases, shift) for caption, shift in parts if caption.is_own]),
    )


def _join_phrases(parts: Sequence[tuple[StoredPhrases | None, int]]) -> StoredPhrases | None:
    """Return the phrases of all parts, moved by so many characters; None where those of one part are not known."""
    moved = [
        replace(phrases, starts=phrases.starts + shift, ends=phrases.ends + shift)
        for phrases, shift in parts
        if phrases is not None
    ]
    if len(moved) < len(parts):
        return None
    return StoredPhrases(
        **{each.name: np.concatenate([getattr(phrases, each.name) for phrases in moved]) for each in fields(moved[0])}
    )


def nearest_images(shards: JoinedShards, images: Sequence[int]) -> dict[int, int]:
    """Return for each of these images the other one whose mean region feature is most like its own, by cosine.

    Of equally alike ones it is the first; one that is alone has none. Each image's regions are read once; the means of
    30,000 images take 0.25 GB, and comparing all with all a few seconds.
    """
    if len(images) < 2:
        return {}
    sums = (shards.side.regions(each).features.sum(0, dtype=np.float32) for each in images)
    means_ID = torch.nn.functional.normalize(torch.from_numpy(np.stack(list(sums))), dim=1)  # the length is no matter
    nearest: list[int] = []
    for start in range(0, len(images), 1024):
        likeness = means_ID[start : start + 1024] @ means_ID.T
        likeness[torch.arange(len(likeness)), torch.arange(start, start + len(likeness))] = -torch.inf
        nearest += likeness.argmax(1).tolist()
    return {image: images[other] for image, other in zip(images, nearest, strict=True)}


def _sentences_by_image(shards: JoinedShards) -> dict[Split, dict[int, NDArray[np.int64]]]:
    """Return the numbers of each split's pairs of captions by the number of their image."""
    found: dict[Split, dict[int, list[int]]] = {}
    for number in shards.select(sources=(SOURCE,)).tolist():
        (image,) = shards.images_of(number).tolist()
        found.setdefault(shards.split_of(number), {}).setdefault(image, []).append(number)
    return {
        split: {image: np.array(numbers) for image, numbers in of_image.items()} for split, of_image in found.items()
    }


def _without_pointers(caption: Caption) -> Caption:
    return replace(
        caption,
        words=caption.words[:0],
        phrases=None if caption.phrases is None else caption.phrases[:0],
        is_own=False,
    )


def _share(first: int, second: int, room: int) -> tuple[int, int]:
    """Return how many pieces of either there is room for: the longer one is cut first."""
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)


def _pair_phrases(rows: Sequence[_Row], pieces: Sequence[Pieces]) -> PhrasePairs:
    found = [
        (i, *first, *second, relation)
        for i, row in enumerate(rows)
        if row.whole is not None
        for first, second, relation in _phrases_of(row, row.whole, pieces[i])
    ]
    columns = torch.tensor(found, dtype=torch.int64).reshape(-1, 6).unbind(1)
    names = ("rows", "first_starts", "first_ends", "second_starts", "second_ends", "relations")
    return PhrasePairs(**dict(zip(names, columns, strict=True)))


def _phrases_of(row: _Row, whole: Sentence, pieces: Pieces) -> list[tuple[tuple[int, int], tuple[int, int], int]]:
    """Return the pieces of each two phrases that name one thing, as the captions are read, and their relation."""
    read_first = row.captions[0]
    shifts = (len(read_first.text) + 1, -read_first.begin) if row.is_turned else (0, 0)
    found = []
    for i, j, label in whole.details["phrase_pairs"]:
        one, other = (_pieces_of(pieces, whole.pointers[k], shift) for k, shift in zip((i, j), shifts, strict=True))
        if one[0] < one[1] and other[0] < other[1]:
            relation = TYPES.get(REVERSED.get(label, label) if row.is_turned else label, -100)
            found.append((other, one, relation) if row.is_turned else (one, other, relation))
    return found


def _pieces_of(pieces: Pieces, pointer: Pointer, shift: int) -> tuple[int, int]:
    """Return the first piece and one past the last of a pointer's words, counted from [CLS]; none if they were cut."""
    start = np.searchsorted(pieces.ends, pointer.start + shift, side="right")
    end = np.searchsorted(pieces.starts, pointer.end + shift, side="left")
    return int(start) + 1, int(end) + 1
