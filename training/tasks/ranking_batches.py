"""Batches of groups for ranking: a pair that matches, then that pair with many other images, or many other texts.

Source: the public code of UNITER, IAIS and CACR, where each part of a step is one text with its image and 399 others,
and one image with its text and 399 others. Here sentences take turns by their place in the step, so that a step of 8
sentences has 4 groups of either kind, whatever the number of ranks.

Axes: G groups of N pairs, S training sentences, I their images.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from stores.errors import StoreError
from training.batch import Batch
from training.data.batches import random_stream
from training.data.grounding import GroundingOptions, find_phrases
from training.data.maker_options import RankingGroupOptions
from training.data.shards import JoinedShards
from training.data.targets import AlignedRow
from training.data.tokenizer import TextTokenizer
from training.tasks.pairing import pair_up, read_images, read_texts

SYMMETRIC = frozenset(("and", "or", "with", "near", "next", "to", "beside", "is", "are", ",", "a", "an", "the"))
"""Words between two phrases that say the same of both: "a dog and a cat" is "a cat and a dog"."""

CAPTIONS = ("flickr30k-entities", "coco-captions")
"""The data sets whose sentences are whole captions of one image."""


class RankingMaker:
    """Makes groups of captions and images; may be carried over a fork.

    The other images and texts are those of the training captions of the store: never the image itself, and never
    another caption of it. A group of 400 pairs with 36 regions of 2048 numbers takes 59 MB.
    """

    def __init__(
        self,
        shards: JoinedShards,
        tokenizer: TextTokenizer,
        options: RankingGroupOptions,
        *,
        seed: int = 0,
    ) -> None:
        """Find the captions of every image."""
        self.shards, self.tokenizer, self.options, self._seed = shards, tokenizer, options, seed
        captions = find_captions(shards)
        images_S = shards.images_of_each(captions)
        by_image = np.argsort(images_S, kind="stable")
        self._captions = captions[by_image]
        self._images, starts = np.unique(images_S[by_image], return_index=True)
        self._starts = np.append(starts, len(captions))

    def make(self, numbers: NDArray[np.int64], *, step: int = 0, positions: NDArray[np.int64] | None = None) -> Batch:
        """Return a group for each of one step's sentences, or for those of them that a rank takes.

        See `BatchMaker.make`; the sentences are training captions.
        """
        positions = np.arange(len(numbers)) if positions is None else positions
        groups = [self._group(int(numbers[each]), step, int(each)) for each in positions]
        spoken, of_text = np.unique([texts for texts, _ in groups], return_inverse=True)
        shown, of_image = np.unique([images for _, images in groups], return_inverse=True)
        is_first_GN = np.zeros((len(groups), 1 + self.options.candidates), bool)
        is_first_GN[:, 0] = True
        batch = pair_up(
            read_texts(self.shards, self.tokenizer, spoken, max_pieces=self.options.max_pieces),
            read_images(self.shards, self._captions[self._starts[shown]]),
            torch.from_numpy(of_text.reshape(-1)),
            torch.from_numpy(of_image.reshape(-1)),
            is_matched=torch.from_numpy(is_first_GN.reshape(-1)),
            group_size=is_first_GN.shape[1],
        )
        if self.options.swap_phrases:
            for group, (texts, _) in enumerate(groups):
                if texts[0] != texts[1]:
                    self._swap(batch, group * batch.group_size, int(texts[0]))
        return batch

    def _swap(self, batch: Batch, row: int, number: int) -> None:
        """The pair after `row` has its text with the first two phrases exchanged, where that says something else."""
        sentence, most = self.shards.read(number), self.options.max_pieces - 2
        (pieces,) = self.tokenizer.encode([sentence.text], max_pieces=most)
        phrases = find_phrases(
            AlignedRow(row=row, number=number, image=0, sentence=sentence, pieces=pieces),
            stored=(self.options.grounding or GroundingOptions()).stored_phrases,
        )
        if len(phrases.starts) < 2:
            return
        starts, ends = pieces.starts[phrases.starts[:2] - 1].tolist(), pieces.ends[phrases.ends[:2] - 2].tolist()
        text = exchanged(sentence.text, (starts[0], ends[0]), (starts[1], ends[1]))
        (other,) = self.tokenizer.encode([text], max_pieces=most)
        length = len(other.ids) + 2
        if text == sentence.text or other.num_cut > pieces.num_cut or length > batch.input_ids.shape[1]:
            return
        batch.input_ids[row + 1] = self.tokenizer.padding_id
        framed = [self.tokenizer.classify_id, *other.ids.tolist(), self.tokenizer.separate_id]
        batch.input_ids[row + 1, :length] = torch.tensor(framed)
        batch.text_mask[row + 1] = torch.arange(batch.text_mask.shape[1]) < length

    def _group(self, number: int, step: int, position: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the sentences and the places of the images of a group, each int64 [N]."""
        draw, size = random_stream(self._seed, step, position), 1 + self.options.candidates
        own = int(np.searchsorted(self._images, self.shards.images_of(number)[0]))
        texts, images = np.full(size, number), np.full(size, own)
        if (step + position) % 2:
            first, after = self._starts[own], self._starts[own + 1]
            texts[1:] = self._captions[_others(len(self._captions), first, after, size - 1, draw)]
        else:
            images[1:] = _others(len(self._images), own, own + 1, size - 1, draw)
        return texts, images


def exchanged(text: str, first: tuple[int, int], second: tuple[int, int]) -> str:
    """Return the text with two parts exchanged, each beginning as large or small as what it takes the place of.

    It is the text itself where the words between the parts, or the parts, are such that it would say the same.
    """
    one, between, other = text[slice(*first)], text[first[1] : second[0]], text[slice(*second)]
    if first[1] > second[0] or not set(between.split()) - SYMMETRIC or one.lower() == other.lower():
        return text
    return text[: first[0]] + _begun_as(one, other) + between + _begun_as(other, one) + text[second[1] :]


def _begun_as(model: str, text: str) -> str:
    return (text[0].upper() if model[0].isupper() else text[0].lower()) + text[1:]


def find_captions(shards: JoinedShards) -> NDArray[np.int64]:
    """Return the numbers of the captions that are trained on, int64 [S].

    Raises:
        StoreError: there are none.
    """
    sources = [source for source in CAPTIONS if source in shards.sources] or CAPTIONS
    return shards.select(splits=("train",), sources=sources)


def require_candidates(shards: JoinedShards, candidates: int) -> None:
    """There are so many other images for every image, and as many texts.

    Raises:
        StoreError: there are fewer.
        ValueError: that is none.
    """
    if candidates < 1:
        raise ValueError(f"candidates is {candidates}, expected 1 or more to rank a pair against")
    num_others = len(np.unique(shards.images_of_each(find_captions(shards)))) - 1
    if num_others < candidates:
        raise StoreError(
            f"{shards.sentences.folder} has training captions of {num_others + 1} images, so {num_others} others for "
            f"each, expected {candidates}; see --candidates"
        )


def _others(count: int, first: int, after: int, size: int, draw: np.random.Generator) -> NDArray[np.int64]:
    """Return `size` different numbers below `count`, none of them from `first` to before `after`."""
    drawn = draw.choice(count - (after - first), size=size, replace=False)
    return np.where(drawn < first, drawn, drawn + after - first)
