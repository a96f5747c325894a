"""Congruence of one pair, word by word and region by region, as the papers' sums and SciPy's divergences say it."""

import numpy as np
from scipy.special import rel_entr, softmax


def carried_over_loop(attention, cross):
    """For every two words, the sum over every two regions of how they attend, times how much each word means each."""
    words, regions = range(len(cross)), range(len(attention))
    carried = np.zeros((len(cross), len(cross)))
    for i in words:
        for j in words:
            for k in regions:
                for p in regions:
                    carried[i, j] += cross[i][k] * cross[j][p] * attention[k][p]
    return carried


def hard_loop(attention, cross):
    """How the regions attend to each other that two words mean most, the first of equal ones."""
    highest = [max(range(len(attention)), key=lambda k, row=row: (row[k], -k)) for row in cross]
    return np.array([[attention[i][j] for j in highest] for i in highest])


def explicit_half(own, other, cross, back, options):
    """One half of one pair, with another softmax where the public code has one; float64 [heads, rows, columns]."""
    blocks = own, other, cross, back
    if options.space == "block_prob":
        blocks = [softmax(each, -1) for each in blocks]
    if options.heads == "mean":
        blocks = [each.mean(0, keepdims=True) for each in blocks]
    return np.mean([_of_one_head(*of_head, options) for of_head in zip(*blocks, strict=True)])


def _of_one_head(own, other, cross, back, options):
    if options.method == "cacr":
        carried, num_products = carried_over_loop(other, cross), len(other) ** 2
    elif options.method == "iais-singular":
        carried, num_products = hard_loop(other, cross), 1
    else:
        carried, num_products = cross @ back, len(other)
    if options.reduce == "mean":
        carried = carried / num_products
    if options.space == "raw" or options.method == "cacr":
        own = softmax(own, -1)
    if options.space == "raw" or options.method != "iais-distributed":
        carried = softmax(carried / options.temperature, -1)
    summed = (rel_entr(own, carried) + rel_entr(carried, own)).sum()
    return summed / len(own) if options.rows == "mean" else summed
