import numpy as np

from annotations.toyworld.phrases import caption_scene, count_phrase, describe_objects, noun_phrase, relation_phrase
from annotations.toyworld.scene import Relation, SceneObject


def make_thing(category, colour="red", *, size="medium", pattern="plain"):
    return SceneObject(
        category=category,
        colour=colour,
        pattern=pattern,
        size=size,
        box_xywh=(0, 0, 10, 10),
        outlines=(),
        area=100,
        visible_fraction=1.0,
    )


def test_attributes_name_the_colour_first_and_nothing_ordinary():
    assert make_thing("car").attributes == ("red",)
    assert make_thing("car", size="large", pattern="striped").attributes == ("red", "large", "striped")


def test_words_stand_in_the_order_that_english_has():
    car = make_thing("car", size="large", pattern="striped")
    assert noun_phrase(0, [car]) == "[0:the large striped red car]"


def test_a_thing_is_definite_only_if_its_words_fit_no_other():
    red, large, blue = make_thing("car"), make_thing("car", size="large"), make_thing("car", "blue")
    objects = [red, large, blue]
    assert [noun_phrase(index, objects) for index in range(3)] == [
        "[0:a red car]",
        "[1:the large red car]",
        "[2:the blue car]",
    ]


def test_an_orange_umbrella_has_an_article_of_its_own():
    first, second = make_thing("umbrella", "orange"), make_thing("umbrella", "orange")
    assert noun_phrase(0, [first, second]) == "[0:an orange umbrella]"
    assert count_phrase([make_thing("umbrella")]) == "[0:an umbrella]"


def test_things_are_counted_in_order_of_appearance():
    things = [make_thing(name) for name in ("fish", "cat", "fish", "umbrella", "cat", "cat")]
    assert count_phrase(things) == "[0,2:two fish], [1,4,5:three cats] and [3:an umbrella]"


def test_a_relation_is_a_phrase_or_a_sentence():
    objects = [make_thing("mug", "blue"), make_thing("table", "white", pattern="dotted")]
    relation = Relation(subject=0, predicate="on", object=1)
    assert relation_phrase(relation, objects) == "[0:a blue mug] on [1:the dotted white table]"
    assert relation_phrase(relation, objects, verb=" is") == "[0:a blue mug] is on [1:the dotted white table]"


def test_captions_are_five_and_say_first_what_is_on_or_in_something():
    objects = [make_thing("mug", "blue"), make_thing("table", "white"), make_thing("cat", "pink")]
    relations = [
        Relation(subject=2, predicate="near", object=1),
        Relation(subject=0, predicate="on", object=1),
    ]
    captions = caption_scene(objects, relations, "in [:a meadow]", np.random.default_rng(0))
    assert [caption.text for caption in captions[:3]] == [
        "There is a mug, a table and a cat.",
        "The blue mug and the white table in a meadow.",
        "A blue mug is on the white table.",
    ]
    main = captions[1]
    assert [(main.words_of(mention), mention.objects) for mention in main.mentions] == [
        ("The blue mug", (0,)),
        ("the white table", (1,)),
        ("a meadow", ()),
    ]
    assert len(captions) == 5


def test_captions_do_without_relations():
    objects = [make_thing("mug", "blue"), make_thing("mug", "blue"), make_thing("cat", "pink")]
    captions = caption_scene(objects, [], "by the sea", np.random.default_rng(0))
    assert captions[0].text == "There are two mugs and a cat."
    assert len(captions) == 5


def test_every_object_is_described_and_every_description_names_its_object():
    objects = [make_thing("mug", "blue"), make_thing("table", "white"), make_thing("cat", "pink")]
    relations = [Relation(subject=0, predicate="on", object=1)]
    described = describe_objects(objects, relations, np.random.default_rng(0))
    assert [(each.subject, each.phrase.text) for each in described] == [
        (0, "the blue mug"),
        (0, "the mug is blue"),
        (0, "a blue mug on the white table"),
        (1, "the white table"),
        (1, "the table is white"),
        (2, "the pink cat"),
        (2, "the cat is pink"),
    ]
