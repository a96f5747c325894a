import os
from pathlib import Path

import pytest

from detectors.vocabulary import Vocabulary, VocabularyError, numbered_vocabulary, read_vocabulary

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[2] / "../shared/data"))


def write_vocabulary(folder: Path, classes: str = "yolk\ngoal", attributes: str = "gray,grey\nback") -> Path:
    (folder / "objects_vocab.txt").write_text(classes)
    (folder / "attributes_vocab.txt").write_text(attributes)
    return folder


def test_names_are_read_in_order_and_aliases_stay_as_written(tmp_path: Path) -> None:
    folder = write_vocabulary(tmp_path, classes="yolk\nstop sign,stopsign\ngoal", attributes="gray,grey\nback\n")
    assert read_vocabulary(folder) == Vocabulary(
        classes=("yolk", "stop sign,stopsign", "goal"), attributes=("gray,grey", "back")
    )


def test_windows_line_ends_are_no_part_of_a_name(tmp_path: Path) -> None:
    assert read_vocabulary(write_vocabulary(tmp_path, classes="yolk\r\ngoal\r\n")).classes == ("yolk", "goal")


def test_the_published_vocabulary_has_1600_classes_and_400_attributes() -> None:
    folder = TEST_DATA / "vocab"
    if not folder.is_dir():
        pytest.skip(f"no vocabulary in {folder}; set VINCULUM_TEST_DATA")
    vocabulary = read_vocabulary(folder)
    assert (len(vocabulary.classes), len(vocabulary.attributes)) == (1600, 400)
    assert (vocabulary.classes[0], vocabulary.classes[-1]) == ("yolk", "buoy")
    assert (vocabulary.attributes[0], vocabulary.attributes[-1]) == ("gray,grey", "leaning")


@pytest.mark.parametrize(
    ("classes", "complaint"),
    [
        ("yolk\n\ngoal", "line 2: blank, expected a name"),
        ("yolk\ngoal\nyolk", "line 3: 'yolk' stands on line 1 already"),
        ("", "empty, expected one name a line"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, classes: str, complaint: str) -> None:
    write_vocabulary(tmp_path, classes=classes)
    with pytest.raises(VocabularyError, match=complaint) as caught:
        read_vocabulary(tmp_path)
    assert str(tmp_path / "objects_vocab.txt") in str(caught.value)


def test_a_folder_without_the_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(VocabularyError, match=r"holds none of objects_vocab\.txt, vg_objects_vocab\.txt"):
        read_vocabulary(tmp_path)


def test_numbered_names_sort_as_their_ids() -> None:
    vocabulary = numbered_vocabulary(num_classes=1600, num_attributes=400)
    assert vocabulary.classes[12] == "class 0012"
    assert vocabulary.attributes[7] == "attribute 007"
    assert list(vocabulary.classes) == sorted(vocabulary.classes)
