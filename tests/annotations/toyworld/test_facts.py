from annotations.toyworld.facts import conclude


def test_a_colour_excludes_the_others_but_no_pattern():
    known = conclude({("is", 2, "red")})
    assert {("there", 2), ("not", 2, "blue"), ("not", 2, "white")} <= known
    assert ("not", 2, "striped") not in known
    assert ("not", 2, "red") not in known


def test_what_is_to_the_left_has_the_other_to_its_left_side_not():
    known = conclude({("related", 0, "to the left of", 3)})
    assert {("related", 3, "to the right of", 0), ("unrelated", 0, "to the right of", 3), ("there", 3)} <= known


def test_two_known_colours_compare_and_a_comparison_gives_the_other_colour():
    assert ("same", 0, 3) in conclude({("is", 0, "red"), ("is", 3, "red")})
    assert ("different", 0, 3) in conclude({("is", 0, "red"), ("is", 3, "blue")})
    known = conclude({("is", 3, "red"), ("same", 0, 3)})
    assert {("is", 0, "red"), ("not", 0, "blue")} <= known


def test_no_cat_is_no_red_cat():
    assert ("none", "cat", "red") in conclude({("none", "cat")})
    assert ("none", "cat") not in conclude({("none", "cat", "red")})


def test_large_is_larger_than_small():
    known = conclude({("is", 4, "large"), ("is", 1, "small")})
    assert ("larger", 4, 1) in known
    assert ("larger", 1, 4) not in known
