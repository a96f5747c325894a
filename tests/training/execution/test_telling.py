from training.execution.telling import tell


def test_figures_come_with_their_denominators_and_nested_ones_below_their_name():
    summary = {
        "run": "run",
        "accuracy": {"value": 0.58291, "of": 1990},
        "validity": None,
        "per type": {"verify": {"value": 0.7, "of": 12}, "query": {"value": None, "of": 0}},
        "loss": 1.23456,
    }
    assert list(tell(summary)) == [
        "run       run",
        "accuracy  0.5829 of 1,990",
        "per type",
        "  verify  0.7000 of 12",
        "  query   none",
        "loss      1.235",
    ]
