from annotations.toyworld.marked_text import Mention, mark, read_marks


def test_marks_become_spans_of_the_plain_text():
    marked = read_marks(f"{mark('a red car', 3)} near {mark('two cats', 0, 2)} by {mark('the sea')}")
    assert marked.text == "a red car near two cats by the sea"
    assert marked.mentions == (
        Mention(start=0, end=9, objects=(3,)),
        Mention(start=15, end=23, objects=(0, 2)),
        Mention(start=27, end=34, objects=()),
    )
    assert [marked.words_of(mention) for mention in marked.mentions] == ["a red car", "two cats", "the sea"]
    assert marked.span_of_noun(marked.mentions[0]) == (6, 9)


def test_a_text_without_marks_mentions_nothing():
    assert read_marks("yes").mentions == ()
    assert read_marks("yes").as_sentence().text == "Yes."
