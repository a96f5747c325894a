"""Starts a task's answer head from that of pre-training: answers keep what was learnt of them.

Source: the public code of Tan & Bansal, EMNLP 2019.
"""

import torch

from training.models.heads import AnswerHead

_ARTICLES = ("a ", "an ", "the ")
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
}
_SPELLINGS = {"grey": "gray"}


def answer_key(answer: str) -> str:
    """Return the form in which answers of two tables are compared: `A Grey.` and `gray` are one."""
    key = answer.lower().strip().removesuffix(".")
    article = next((article for article in _ARTICLES if key.startswith(article)), "")
    key = key.removeprefix(article).strip()
    return _SPELLINGS.get(key, _NUMBERS.get(key, key))


def transfer_answers(
    head: AnswerHead, answers: tuple[str, ...], pretrained: AnswerHead, pretrained_answers: tuple[str, ...]
) -> int:
    """`head` is `pretrained` with the rows of its own answers; those of answers that it did not have are zero.

    Returns the number of answers that were found.

    Raises:
        ValueError: the heads are of different widths.
    """
    if head.dense.weight.shape != pretrained.dense.weight.shape:
        raise ValueError(
            f"answer heads are of widths {list(pretrained.dense.weight.shape)} and {list(head.dense.weight.shape)}, "
            "expected equal ones"
        )
    rows = {answer_key(answer): row for row, answer in reversed(list(enumerate(pretrained_answers)))}
    found = [(row, rows[answer_key(answer)]) for row, answer in enumerate(answers) if answer_key(answer) in rows]
    head.dense.load_state_dict(pretrained.dense.state_dict())
    head.norm.load_state_dict(pretrained.norm.state_dict())
    with torch.no_grad():
        head.decoder.weight.zero_()
        head.decoder.bias.zero_()
        for row, old in found:
            head.decoder.weight[row] = pretrained.decoder.weight[old]
            head.decoder.bias[row] = pretrained.decoder.bias[old]
    return len(found)
