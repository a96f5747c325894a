"""Words that name nothing one could see, which `vinculum align --function-words left-out` compares with no region.

The list is ours: English articles, determiners, possessives, prepositions, conjunctions, auxiliaries and particles, as
grammars class them, in lower case, as `find_words` finds them. Numbers and colours are not in it, for a detector may
name them; nor are pronouns that stand for people (he, she, they, someone ...), which are a phrase of their own.
"""

_LINES = (
    "a an the",
    "this that these those such same",
    "some any no every each either neither both all half several many much few more most less least",
    "another other others own",
    "my your his her its our their whose",
    "what which who whom",
    "of in on at by for from to with without within into onto upon over under above below beneath beside besides",
    "between",
    "among amongst through throughout across along around about against toward towards behind before after during",
    "near",
    "inside outside off out up down past via per as like than",
    "and or nor but so yet if while because although though when where whereas",
    "is are was were be been being am s do does did doing done has have had having can could will would shall",
    "should may",
    "might must",
    "not n't there here then just very too also only even",
    "it itself himself herself themselves",
)

FUNCTION_WORDS = frozenset(word for line in _LINES for word in line.split())
