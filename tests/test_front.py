"""Which networks are worth their cost, for certain, perhaps or not."""

import pytest

from comparison.front import CERTAIN, NOT, PERHAPS, front, fronts, lines_of_fronts


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
    ratios = {(one, other): (costs[one] / costs[other],) * 2 for one in costs for other in costs if one != other}
    assert front(list(costs), ratios, better) == expected


def test_where_the_order_of_costs_is_not_sure_the_front_is_not_either():
    dear_perhaps = {("one", "other"): (0.8, 1.4), ("other", "one"): (0.7, 1.2)}
    assert front(["one", "other"], dear_perhaps, set()) == {"one": PERHAPS, "other": PERHAPS}
    # The better one may cost more, so the other one may be worth it
    assert front(["one", "other"], dear_perhaps, {("one", "other")}) == {"one": CERTAIN, "other": PERHAPS}
    dear_surely = {("one", "other"): (1.2, 1.4), ("other", "one"): (0.7, 0.8)}
    assert front(["one", "other"], dear_surely, {("one", "other")}) == {"one": CERTAIN, "other": CERTAIN}


def test_the_lines_say_it_for_each_cost_that_is_known():
    rows = [
        {"network": "small", "numbers_of_seeds": [0, 1], "training_images_per_second_of_seeds": [50.0, 48.0],
         "latency_ms_of_rounds": [20.0, 21.0],
         "parameters": None},
        {"network": "large", "numbers_of_seeds": [0, 1], "training_images_per_second_of_seeds": [20.0, 21.0],
         "latency_ms_of_rounds": [50.0, 52.0],
         "parameters": 10},
    ]  # fmt: skip
    assert lines_of_fronts(fronts(rows, {("large", "small")})) == [
        "On the front of accuracy against training time: for certain small, large.",
        "On the front of accuracy against evaluation time: for certain small, large.",
    ]
    line = lines_of_fronts(fronts(rows, {("small", "large")}))[0]
    assert line.endswith("training time: for certain small; not large.")
    assert line.chinese == "准确率与训练时间：确定在前沿上的是 small；不在前沿上的是 large。"
    assert fronts(rows[:1], {("small", "large")}) == {}
