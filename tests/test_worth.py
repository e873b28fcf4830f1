"""What a network gains and costs against another one."""

import pytest

from comparison.significance import Difference
from comparison.worth import baseline_of, change_of, gain_cells, gains_of, price, ratio, table_of_gains


def row(name, rates=(10.0, 11.0, 9.0), latencies=(5.0,) * 9, parameters=1_000_000, accuracy=0.8, **more):
    return {
        "network": name, "accuracy": accuracy, "training_images_per_second": sum(rates) / len(rates),
        "training_images_per_second_of_seeds": list(rates), "numbers_of_seeds": list(range(len(rates))),
        "latency_ms_of_rounds": list(latencies), "parameters": parameters,
        **more,
    }  # fmt: skip


def test_a_cost_is_compared_pair_by_pair_so_a_slow_hour_that_both_had_falls_out():
    quick, slow = row("quick", (10.0, 5.0, 10.0)), row("slow", (8.0, 4.0, 8.0))
    assert price(slow, quick) == " for +25% training time, +0.0 ms an image, +0.0 MB of weights"
    assert price(quick, slow).startswith(" for -20% training time")
    assert ratio(slow, quick, "training_time") == pytest.approx((1.25, 1.25))


def test_only_trainings_with_the_same_seed_are_a_pair():
    quick, slow = row("quick", (10.0, 5.0, 10.0)), row("slow", (4.0, 8.0), numbers_of_seeds=[1, 2])  # that of seed 0 failed
    assert price(slow, quick).startswith(" for +25% training time")
    assert ratio(slow, row("other", (1.0,), numbers_of_seeds=[7]), "training_time") is None


def test_a_cost_has_an_interval_where_its_measurements_differ():
    costly = row("costly", latencies=(5.1, 5.3, 5.2, 5.2, 9.9, 5.3, 5.1, 5.2, 5.0))
    assert "+0.2 (+0.1 to +0.3) ms an image" in price(costly, row("plain"))  # one round of nine is an outlier


def test_the_interval_is_that_of_the_median_by_order_statistics():
    assert change_of([3.0]) == (3.0, 3.0, 3.0, 1)
    assert change_of([1.0, 5.0, 2.0])[:3] == (2.0, 1.0, 5.0)
    assert change_of(list(range(9)))[:3] == (4, 1, 7)  # holds it with 1 - 2 (1 + 9) / 2**9 = 96%
    assert change_of(list(range(20)))[:3] == (9.5, 5, 14)  # 95.9%


def test_what_is_not_known_of_both_is_not_compared():
    old = row("old", parameters=None, training_images_per_second_of_seeds=[None], latency_ms_of_rounds=[])
    assert price(old, row("new")) == ""
    assert ratio(old, row("new"), "training_time") is None
    assert gain_cells(gains_of([row("new"), old], "new", {})) == (["network", "accuracy"], [["old", "-"]])


def test_without_a_choice_the_baseline_is_the_network_that_trains_fastest():
    rows = [row("best", (5.0,)), row("fast", (20.0,), accuracy=0.5), row("failed", (90.0,), accuracy=None)]
    assert baseline_of(rows) == "fast"
    assert baseline_of(rows, "best") == "best"
    assert baseline_of(rows, "failed") == "fast"
    assert baseline_of([]) is None


def test_the_table_has_each_network_against_the_baseline():
    dear = row("dear", (5.0, 5.5, 4.5), parameters=3_000_000, energy_wh_of_seeds=[2.0, 2.5, 2.0])
    rows = [dear, row("cheap", energy_wh_of_seeds=[1.0, 1.0, 1.5])]
    pairs = {("dear", "cheap"): Difference(0.012, 0.004, 0.02, 0.01, True)}
    assert table_of_gains(gains_of(rows, "cheap", pairs), "cheap").splitlines() == [
        "Against cheap:",
        "",
        "| network | accuracy | training time | ms an image | MB of weights | Wh a training |",
        "|---|---|---|---|---|---|",
        "| dear | +1.2 points (+0.4 to +2.0) | +100% | +0.0 | +8.0 | +1.0 (+0.5 to +1.5) |",
    ]
    assert table_of_gains([], "cheap") == ""
