"""Answers of visual question answering: how two are compared, what they score, and tables of them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from annotations.records import Answer

_ARTICLES = {"a", "an", "the"}
_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_WITH_APOSTROPHE = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd "
    "he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've "
    "needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've "
    "somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll "
    "that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've "
    "weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've "
    "why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're "
    "you've"
)
_CONTRACTIONS = {
    word[:position] + word[position + 1 :]: word
    for word in _WITH_APOSTROPHE.split()
    for position, letter in enumerate(word)
    if letter == "'"
} | {"somebody'd": "somebodyd"}
"""Contractions that lack their apostrophe, with their right spelling; the last is a slip of the official table."""
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_PERIOD = re.compile(r"\.(?!\d)")
_COMMA_IN_NUMBER = re.compile(r"\d,\d")


@lru_cache(maxsize=1 << 14)  # people mostly say the same few thousand things
def normalize_answer(answer: str) -> str:
    """Return the answer as VQA's official evaluation compares it.

    Punctuation is dropped, or becomes a space where it stands between letters; lower case; number words become digits,
    articles go, apostrophes of contractions come back. Source: the public evaluation code of VQA (vqaEval.py).
    """
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    cleaned = answer
    for mark in _PUNCTUATION:
        alone = f"{mark} " in answer or f" {mark}" in answer or _COMMA_IN_NUMBER.search(answer)
        cleaned = cleaned.replace(mark, "" if alone else " ")
    words = [_NUMBERS.get(word, word) for word in _PERIOD.sub("", cleaned).lower().split()]
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)


def soft_answers(given: Sequence[str]) -> tuple[Answer, ...]:
    """Return the answers that people gave, normalised, each with VQA's soft score, best first; without `nothing_score`.

    The score of an answer is the mean, over each person left out in turn, of min(1, those of the others who gave it
    / 3). With ten people and n of them agreeing it is 0.3, 0.6, 0.9 and 1 for n = 1, 2, 3 and more. Source: Antol et
    al., ICCV 2015, and https://visualqa.org/evaluation.html.
    """
    counts = Counter(normalize_answer(each) for each in given)
    scores = {answer: _score(count, len(given)) for answer, count in counts.items() if answer}
    best_first = sorted(scores.items(), key=lambda item: (-item[1], -counts[item[0]], item[0]))
    return tuple(Answer(text=answer, weight=score) for answer, score in best_first)


def nothing_score(given: Sequence[str]) -> float:
    """Return the soft score of an answer of which nothing is left when it is normalised, such as `a` or `?`.

    Officially it is right as far as people gave such answers, too; no table of answers has it.
    """
    return _score(sum(not normalize_answer(each) for each in given), len(given)) if given else 0.0


def _score(count: int, num_people: int) -> float:
    if num_people == 1:
        return min(1.0, count / 3)
    left_out_agrees = min(1.0, (count - 1) / 3) * count
    left_out_differs = min(1.0, count / 3) * (num_people - count)
    return round((left_out_agrees + left_out_differs) / num_people, 6)


@dataclass(frozen=True, kw_only=True)
class AnswerVocabulary:
    """The answers that a head can give; the row number is the answer's id."""

    answers: tuple[str, ...]

    def ids(self) -> dict[str, int]:
        """Return the id of every answer."""
        return {answer: number for number, answer in enumerate(self.answers)}


def read_answer_vocabulary(path: Path) -> AnswerVocabulary:
    """Return a table of answers: a JSON list (label2ans), an object of ids (ans2label), or LXMERT's `all_ans.json`.

    Raises:
        DataError: it is none of these, an answer is there twice, or ids are not 0, 1, 2 ...
    """
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a JSON table of answers") from error
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}), expected a table of answers") from error
    if isinstance(content, dict):
        if any(type(each) is not int for each in content.values()) or set(content.values()) != set(range(len(content))):
            raise DataError(f"{path}: ids are not 0 to {len(content) - 1}, each once; expected answer to id")
        return AnswerVocabulary(answers=tuple(sorted(content, key=content.__getitem__)))
    if not isinstance(content, list):
        raise DataError(f"{path}: holds a JSON {type(content).__name__}, expected a list or an object of answers")
    answers = tuple(_answer_of(path, number, entry) for number, entry in enumerate(content))
    _require_distinct(path, answers)
    return AnswerVocabulary(answers=answers)


def _answer_of(path: Path, number: int, entry: object) -> str:
    answer = entry.get("ans") if isinstance(entry, dict) else entry
    if not isinstance(answer, str):
        raise DataError(f"{path}: entry {number} is {entry!r}, expected an answer or an object with 'ans'")
    return answer


def _require_distinct(path: Path, answers: Iterable[str]) -> None:
    for answer, count in Counter(answers).most_common(1):
        if count > 1:
            raise DataError(f"{path}: answer {answer!r} is there {count} times, expected each once")
