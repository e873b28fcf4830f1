"""Which networks are worth their cost, for certain, perhaps or not."""

import pytest

from comparison.front import CERTAIN, NOT, PERHAPS, front, lines_of_front


@pytest.mark.parametrize(
    ("costs", "better", "expected"),
    [
        ({"cheap": 1.0, "dear": 2.0}, {("dear", "cheap")}, {"cheap": CERTAIN, "dear": CERTAIN}),
        ({"cheap": 1.0, "dear": 2.0}, {("cheap", "dear")}, {"cheap": CERTAIN, "dear": NOT}),
        ({"cheap": 1.0, "dear": 2.0}, set(), {"cheap": CERTAIN, "dear": PERHAPS}),
        ({"one": 1.0, "alike": 1.03}, set(), {"one": PERHAPS, "alike": PERHAPS}),
        ({"one": 1.0, "alike": 1.03}, {("alike", "one")}, {"one": NOT, "alike": CERTAIN}),
        ({"a": 1.0, "b": 2.0, "c": 3.0}, {("b", "a"), ("c", "a")}, {"a": CERTAIN, "b": CERTAIN, "c": PERHAPS}),
    ],
)
def test_a_network_is_on_the_front_where_nothing_cheaper_is_as_good(costs, better, expected):
    assert front(costs, better) == expected


def test_the_lines_say_it_for_each_cost_that_is_known():
    rows = [
        {"network": "small", "training_images_per_second": 50.0, "latency_ms": 20.0, "parameters": None},
        {"network": "large", "training_images_per_second": 20.0, "latency_ms": 50.0, "parameters": 10},
    ]
    assert lines_of_front(rows, {("large", "small")}) == [
        "On the front of accuracy against training time: for certain small, large.",
        "On the front of accuracy against evaluation time: for certain small, large.",
    ]
    assert lines_of_front(rows, {("small", "large")})[0].endswith("training time: for certain small; not large.")
