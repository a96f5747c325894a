"""Makes batches: reads sentences and regions, tokenizes, exchanges, hides, and combines alignment targets.

What is drawn at random for a pair depends on the seed, the step and the pair's place in the step's batch, on nothing
else: a run on four ranks sees what a run on one sees.

Axes: B pairs, L word pieces, R regions, D feature_dim.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from annotations.answers import AnswerVocabulary, normalize_answer
from stores.formats.training_rows import TrainingSentence
from training.batch import Batch, MaskedRegions, MaskedWords, SideFields, TokenMask
from training.data.grounding import GroundingOptions, make_grounding
from training.data.maker_options import MakerOptions
from training.data.masking import MaskName, choose_regions, mask_pieces, nearest_cells
from training.data.pictures import Augmentation
from training.data.shards import JoinedShards
from training.data.sides.pixels import PixelSide
from training.data.targets import AlignedRow, TargetOptions, make_alignment
from training.data.tokenizer import Pieces, TextTokenizer
from training.models.catalog import EncoderShape
from training.models.visual_parser import VisualParserShape

_TRIES = 8


@dataclass(frozen=True, kw_only=True)
class BatchOptions(MakerOptions):
    """What is done to sentences and regions on their way into a batch."""

    option_of: ClassVar[Mapping[str, str]] = {
        "masked_words": "mask_words",
        "masked_regions": "mask_regions",
        "token_mask": "mask_tokens",
        "alignment": "targets",
        "grounding": "grounding",
        "answer_scores": "soft_answers",
    }

    kind: Literal["pairs"] = "pairs"
    mask_words: float = 0.0
    """Share of the word pieces that are to be guessed; 0.15 in pre-training."""
    mask_regions: float = 0.0
    """Share of the regions that are to be guessed; 0.15 in pre-training."""
    one_modality: bool = False
    """Each pair hides word pieces or regions, never both, so that what is hidden can be read off the other, as UNITER
    has it."""
    matched_words: bool = False
    """Hidden words are to be guessed of pairs that match alone, as SOHO has it. They are hidden of all: else the masks
    would tell which pairs match."""
    mask_tokens: MaskName | None = None
    """How it is chosen what is hidden of visual tokens; None: nothing is."""
    token_share: float = 0.05
    """Share of the visual tokens that are hidden, to the nearest number of them: 7 of 144, 2 of 49."""
    beside_seed: bool = False
    """Whether attention hides the drawn token beside so many others, instead of as the first of them."""
    augmentation: Augmentation | None = None
    """How images may look otherwise each time, where they are files."""
    blank_all: bool = False
    """What is hidden of regions is always blanked, as UNITER has it; else some are exchanged or stay, as words do."""
    mismatch: float = 0.0
    """Share of the pairs whose sentence is exchanged for another image's; 0.5 in pre-training."""
    own_texts: int = 1
    """Sentences of its own that an image comes with; 2 in visual parsing. Those of one image are rows one after
    another, and a sentence of the step stands for its image."""
    other_texts: int = 0
    """Sentences of other images that it comes with besides; 2 in visual parsing. `mismatch` is then 0."""
    targets: TargetOptions | None = None
    """Alignment targets, where they are asked for."""
    grounding: GroundingOptions | None = None
    """Phrases with the regions that show them, where they are asked for."""
    soft_answers: bool = False
    """Every answer's score, where a task asks for it."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("mask_words", "mask_regions", "mismatch", "token_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}, expected a share from 0 to 1")
        if self.own_texts < 1 or self.other_texts < 0 or (self.in_groups and self.mismatch):
            raise ValueError(
                f"{self.own_texts} own and {self.other_texts} other texts an image, mismatch {self.mismatch}; expected "
                "one or more of its own, and no mismatch where others are asked for by number"
            )

    @property
    def in_groups(self) -> bool:
        return (self.own_texts, self.other_texts) != (1, 0)

    @property
    def points(self) -> bool:
        return self.targets is not None or self.grounding is not None

    @property
    def asks_attention(self) -> bool:
        return self.mask_tokens == "attention"

    def require_encoder(self, shape: EncoderShape) -> None:
        if self.mask_tokens is not None and not isinstance(shape, VisualParserShape):
            raise ValueError(f"mask_tokens: a {shape.kind} encoder has no visual tokens, expected none hidden")
        if self.mask_regions and isinstance(shape, VisualParserShape) and shape.trunk is not None:
            raise ValueError("mask_regions: pixels have no stored features to guess; expected mask_tokens instead")


class Maker(Protocol):
    """Makes the batch of any sentences of a step; what `BatchMaker` does, or what a task needs instead."""

    shards: JoinedShards

    def make(
        self, numbers: NDArray[np.int64], *, step: int = 0, positions: NDArray[np.int64] | None = None
    ) -> Batch: ...


class BatchMaker:
    """Makes the batch of any sentences; may be carried over a fork."""

    def __init__(
        self,
        shards: JoinedShards,
        tokenizer: TextTokenizer,
        options: BatchOptions,
        *,
        answers: AnswerVocabulary | None = None,
        seed: int = 0,
    ) -> None:
        self.shards = shards
        self.tokenizer = tokenizer
        self.options = options
        self._seed = seed
        self._answers = [] if answers is None else list(answers.answers)
        self._answer_ids: dict[str, int] = {}
        for number, answer in enumerate(self._answers):
            self._answer_ids.setdefault(normalize_answer(answer), number)
        self._ordinary_ids = np.setdiff1d(np.arange(tokenizer.vocab_size), list(tokenizer.special_ids))

    def for_evaluation(self) -> "BatchMaker":
        """Return a maker of the same batches with nothing hidden and nothing exchanged."""
        answers = AnswerVocabulary(answers=tuple(self._answers))
        options = replace(
            self.options,
            mask_words=0.0,
            mask_regions=0.0,
            mask_tokens=None,
            augmentation=None,
            mismatch=0.0,
            own_texts=1,
            other_texts=0,
        )
        return BatchMaker(self.shards, self.tokenizer, options, answers=answers, seed=self._seed)

    def make(self, numbers: NDArray[np.int64], *, step: int = 0, positions: NDArray[np.int64] | None = None) -> Batch:
        """Return the pairs of one step's sentences, or of those of them that a rank takes.

        Args:
            numbers: int64 [batch_size]; the sentences of the step, of all ranks; all with equally many images.
            positions: int64; which of them; all unless given.
        """
        pairs = self._pairs(numbers, step, np.arange(len(numbers)) if positions is None else positions)
        input_ids_BL, text_mask_BL, masked_words = self._text(pairs)
        side, masked_regions = self._side(pairs, numbers)
        return Batch(
            sentence_ids=tuple(each.sentence.sentence_id for each in pairs),
            image_ids=tuple(self.shards.side.image_ids[each.image_number] for each in pairs),
            input_ids=input_ids_BL,
            text_mask=text_mask_BL,
            **side.tensors(),
            is_matched=torch.tensor([each.is_matched for each in pairs]),
            answer_ids=torch.tensor([self._one_answer(each) for each in pairs]),
            answer_scores=self._all_answers(pairs) if self.options.soft_answers else None,
            masked_words=masked_words,
            masked_regions=masked_regions,
            token_mask=self._token_mask(pairs, side) if self.options.mask_tokens else None,
            **self._pointed(pairs, input_ids_BL.shape[1], side.region_mask.numpy()),
            images_per_sentence=len(self.shards.images_of(int(numbers[0]))),
        )

    def _pairs(self, numbers: NDArray[np.int64], step: int, positions: NDArray[np.int64]) -> list["_Pair"]:
        """Return every sentence with each of its images, one after another; of groups those of an image together."""
        draws = [random_stream(self._seed, step, int(position)) for position in positions]
        owns = [int(numbers[position]) for position in positions]
        said = [
            (place, number, is_matched)
            for place, (own, draw) in enumerate(zip(owns, draws, strict=True))
            for number, is_matched in self._said_of(own, numbers, draw)
        ]
        sentences = [self.shards.read(number) for _, number, _ in said]
        pieces = self.tokenizer.encode([each.text for each in sentences], max_pieces=self.options.max_pieces - 2)
        hides = [_hidden(draws[place]) if self.options.one_modality else (True, True) for place, _, _ in said]
        return [
            _Pair(
                hides_words=hides[i][0],
                hides_regions=hides[i][1],
                spoken=number,
                sentence=sentences[i],
                pieces=pieces[i],
                step=step,
                position=int(positions[place]),
                image=image,
                image_number=int(image_number),
                num_regions=int(num_regions),
                is_matched=is_matched,
                draw=draws[place],
            )
            for i, (place, number, is_matched) in enumerate(said)
            for image, (image_number, num_regions) in enumerate(
                zip(self.shards.images_of(owns[place]), self.shards.num_regions_of(owns[place]), strict=True)
            )
        ]

    def _said_of(self, own: int, numbers: NDArray[np.int64], draw: np.random.Generator) -> list[tuple[int, bool]]:
        """Return what is said of an image, and whether it is true of it: one sentence, or a group of them."""
        if not self.options.in_groups:
            spoken = self._exchange(own, numbers, draw)
            return [(spoken, spoken == own)]
        siblings = self.shards.siblings_of(own)
        turns = np.concatenate([draw.permutation(siblings) for _ in range(-(-self.options.own_texts // len(siblings)))])
        said = [(int(number), True) for number in turns[: self.options.own_texts]]
        for _ in range(self.options.other_texts):
            other = self._other(own, numbers, draw)
            said.append((int(draw.choice(self.shards.siblings_of(other))), other == own))
        return said

    def _exchange(self, own: int, numbers: NDArray[np.int64], draw: np.random.Generator) -> int:
        """Return the sentence that is said of an image: its own, or that of another image of the same step."""
        if self.options.mismatch and draw.random() < self.options.mismatch:
            return self._other(own, numbers, draw)
        return own

    def _other(self, own: int, numbers: NDArray[np.int64], draw: np.random.Generator) -> int:
        """Return a sentence of another image of the step; its own if there is none to be found."""
        image = self.shards.images_of(own)[0]
        for other in numbers[draw.integers(len(numbers), size=_TRIES)]:
            if self.shards.images_of(int(other))[0] != image:
                return int(other)
        return own

    def _text(self, pairs: Sequence["_Pair"]) -> tuple[Tensor, Tensor, MaskedWords | None]:
        """Return input_ids and text_mask [B, L], L of the longest sentence, and what is to be guessed."""
        lengths = np.array([len(each.pieces.ids) + 2 for each in pairs])
        ids_BL = np.full((len(pairs), lengths.max()), self.tokenizer.padding_id, np.int64)
        labels_BL = ids_BL.copy()
        asked = [np.empty(0, np.int64)]
        for row, each in enumerate(pairs):
            last = lengths[row] - 1
            ids_BL[row, 0], ids_BL[row, last] = self.tokenizer.classify_id, self.tokenizer.separate_id
            ids_BL[row, 1:last] = labels_BL[row, 1:last] = each.pieces.ids
            if self.options.mask_words:
                ids_BL[row, 1:last], positions = mask_pieces(
                    each.pieces.ids,
                    self.options.mask_words * each.hides_words,
                    each.draw,
                    mask_id=self.tokenizer.mask_id,
                    ordinary_ids=self._ordinary_ids,
                )
                if each.is_matched or not self.options.matched_words:
                    asked.append(row * ids_BL.shape[1] + 1 + positions)
        masked = None
        if self.options.mask_words:
            positions = np.concatenate(asked)
            masked = MaskedWords(
                positions=torch.from_numpy(positions), labels=torch.from_numpy(labels_BL.reshape(-1)[positions])
            )
        text_mask_BL = np.arange(ids_BL.shape[1]) < lengths[:, None]
        return torch.from_numpy(ids_BL), torch.from_numpy(text_mask_BL), masked

    def _side(self, pairs: Sequence["_Pair"], numbers: NDArray[np.int64]) -> tuple[SideFields, MaskedRegions | None]:
        """Return the batch's fields that images give, and what is to be guessed."""
        side = self._seen(pairs)
        if not self.options.mask_regions:
            return side, None
        features_BRD = side.features.numpy()
        asked, hidden, zeroed = [], [], []
        for row, each in enumerate(pairs):
            share = self.options.mask_regions * each.hides_regions
            positions, blanked, exchanged = choose_regions(each.num_regions, share, each.draw)
            if self.options.blank_all:
                blanked, exchanged = positions, positions[:0]
            asked.append(row * features_BRD.shape[1] + positions)
            hidden.append(features_BRD[row, positions])
            zeroed.append(np.isin(positions, blanked))
            features_BRD[row, blanked] = 0
            for region in exchanged:
                features_BRD[row, region] = self._random_feature(numbers, each.draw)
        return side, MaskedRegions(
            positions=torch.from_numpy(np.concatenate(asked)),
            features=torch.from_numpy(np.concatenate(hidden)),
            is_blanked=torch.from_numpy(np.concatenate(zeroed)),
        )

    def _seen(self, pairs: Sequence["_Pair"]) -> SideFields:
        """Return the fields that images give; files are read anew for each place, if they may look otherwise."""
        images, num_regions = [each.image_number for each in pairs], [each.num_regions for each in pairs]
        side, augmentation = self.shards.side, self.options.augmentation
        if augmentation is None or not isinstance(side, PixelSide):
            return side.fields(images, num_regions)

        def draw(row: int) -> np.random.Generator:
            each = pairs[row]
            return random_stream(self._seed, each.step, each.position, purpose=1 + each.image)

        return side.views(images, [(each.position, each.image) for each in pairs], augmentation, draw)

    def _token_mask(self, pairs: Sequence["_Pair"], side: SideFields) -> TokenMask:
        """Return what is to be guessed of visual tokens, as far as it is drawn here."""
        counts = [round(self.options.token_share * each.num_regions) * each.hides_regions for each in pairs]
        seeds = [int(each.draw.integers(each.num_regions)) for each in pairs]
        chosen_BR = None
        if self.options.mask_tokens != "attention":
            chosen_BR = torch.zeros_like(side.region_mask)
            for row, (each, seed, count) in enumerate(zip(pairs, seeds, counts, strict=True)):
                if self.options.mask_tokens == "block":
                    boxes_R4 = side.boxes[row, : each.num_regions].numpy()
                    cells = nearest_cells(boxes_R4, seed, count, each.draw)
                else:
                    cells = each.draw.choice(each.num_regions, count, replace=False)
                chosen_BR[row, cells] = True
        return TokenMask(
            seeds=torch.tensor(seeds),
            counts=torch.tensor(counts),
            chosen=chosen_BR,
            beside_seed=self.options.beside_seed,
        )

    def _pointed(self, pairs: Sequence["_Pair"], length: int, is_region_BR: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the batch's fields that the words of pairs that match give, as far as they are asked for."""
        rows = [
            AlignedRow(row=row, number=each.spoken, image=each.image, sentence=each.sentence, pieces=each.pieces)
            for row, each in enumerate(pairs)
            if each.is_matched
        ]
        fields: dict[str, Any] = {}
        if self.options.targets is not None:
            fields["alignment"] = make_alignment(
                rows, self.options.targets, length=length, is_region=is_region_BR, seed=self._seed
            )
        if self.options.grounding is not None:
            fields["grounding"] = make_grounding(rows, self.options.grounding, is_region=is_region_BR, seed=self._seed)
        return fields

    def _random_feature(self, numbers: NDArray[np.int64], draw: np.random.Generator) -> NDArray[np.float16]:
        """Return the feature of any region of any image of the step; zeros where that has none."""
        other = self.shards.side.regions(int(self.shards.images_of(int(numbers[draw.integers(len(numbers))]))[0]))
        if not other.num_boxes:
            return np.zeros(other.feature_dim, np.float16)
        return other.features[draw.integers(other.num_boxes)]

    def _one_answer(self, pair: "_Pair") -> int:
        """Return the id of one answer, the likelier the larger its weight; -100 where there is none to ask for."""
        known = self._known_answers(pair.sentence) if pair.is_matched else {}
        weights = np.array(list(known.values()), np.float64)
        if weights.sum() <= 0:
            return -100
        ids = list(known)
        return ids[0] if len(ids) == 1 else int(pair.draw.choice(ids, p=weights / weights.sum()))

    def _all_answers(self, pairs: Sequence["_Pair"]) -> Tensor:
        """Return the soft score of every answer of the table, float32 [B, A]."""
        scores_BA = torch.zeros(len(pairs), len(self._answers))
        for row, each in enumerate(pairs):
            for number, weight in self._known_answers(each.sentence).items():
                scores_BA[row, number] = weight
        return scores_BA

    def _known_answers(self, sentence: TrainingSentence) -> dict[int, float]:
        """Return the weights of a sentence's answers by their id in the table."""
        found: dict[int, float] = {}
        for answer, weight in zip(sentence.answers, sentence.answer_weights, strict=True):
            number = self._answer_ids.get(normalize_answer(answer))
            if number is not None:
                found[number] = max(found.get(number, 0.0), weight)
        return found


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class _Pair:
    """A row of a batch in the making."""

    spoken: int
    """Number of the sentence, which may have been exchanged."""
    sentence: TrainingSentence
    pieces: Pieces
    step: int
    position: int
    """In the step's batch; pairs of one group have the same."""
    image: int
    """Which of the sentence's images."""
    image_number: int
    """The image's position on its side."""
    num_regions: int
    is_matched: bool
    hides_words: bool
    hides_regions: bool
    draw: np.random.Generator


def _hidden(draw: np.random.Generator) -> tuple[bool, bool]:
    """Return whether a pair hides words, and whether it hides regions: one of both."""
    words = bool(draw.random() < 0.5)
    return words, not words


def random_stream(seed: int, step: int, position: int, *, purpose: int = 0) -> np.random.Generator:
    """Return what a place of a step draws from; another for each purpose."""
    return np.random.Generator(np.random.Philox(key=seed, counter=[0, purpose, position, step]))
