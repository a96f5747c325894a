"""What is said where a metric counts phrases that the sentence store does not hold."""

import sys

from stores.programs.terminal import printable
from training.tasks.measure import Subject


def tell_guessed_phrases(subject: Subject) -> None:
    """Standard error has a line if phrases of some of the sentences are guessed, so that figures are not official."""
    shards, numbers = subject.shards, subject.numbers.tolist()
    guessed = sum(shards.read(number).phrases is None for number in numbers)
    if guessed:
        line = (
            f"{subject.task_name}: {shards.sentences.folder} does not hold the phrases of {guessed} of its "
            f"{len(numbers)} sentences for {subject.split}, since an older version aligned them; runs of neighbouring "
            "words with equal boxes are counted instead, in Flickr30k Entities 0.7 % more than officially. To count "
            "phrases as they were annotated, run vinculum align again with a new --out"
        )
        print(printable(line), file=sys.stderr)
