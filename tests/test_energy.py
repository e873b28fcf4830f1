"""The energy that a training uses, by counters of the system: here files, and a library, of the tests' own."""

import contextlib

import pytest

from machine import energy
from comparison.side_by_side import places_for
from config import Config
from machine.energy import Counter, EnergyMeter, card_counter, energy_meter


@pytest.fixture
def powercap(tmp_path, monkeypatch):
    """A folder of two processors, the first with its memory apart; a function that sets their microjoules."""
    monkeypatch.setattr(energy, "POWERCAP", tmp_path)
    zones = {"intel-rapl:0": "package-0", "intel-rapl:0:0": "core", "intel-rapl:0:1": "dram", "intel-rapl:1": "package-1",
             "intel-rapl:2": "psys"}  # fmt: skip
    for zone, name in zones.items():
        (tmp_path / zone).mkdir()
        (tmp_path / zone / "name").write_text(name + "\n")
        (tmp_path / zone / "max_energy_range_uj").write_text("1000000000\n")

    def count(*microjoules):
        for zone, value in zip(zones, microjoules):
            (tmp_path / zone / "energy_uj").write_text(f"{value}\n")

    count(5_000_000, 1_000_000, 2_000_000, 990_000_000, 70_000_000)
    return count


def test_processors_and_their_memory_count_once(powercap):
    meter = energy_meter()
    assert meter.joules == 0.0
    powercap(15_000_000, 9_000_000, 5_000_000, 990_000_000, 170_000_000)
    assert meter.joules == pytest.approx(10 + 3)


def test_a_counter_that_begins_anew_goes_on(powercap):
    meter = energy_meter()
    powercap(5_000_000, 0, 2_000_000, 20_000_000, 0)  # of 1,000 J: from 990 over the top to 20
    assert meter.joules == pytest.approx(30)


def test_a_long_epoch_is_read_in_between(powercap, monkeypatch):
    seconds = [0.0]
    monkeypatch.setattr(energy.time, "monotonic", lambda: seconds[0])
    meter = energy_meter()
    powercap(5_000_000, 0, 2_000_000, 980_000_000, 0)  # nearly once around
    meter.sample()  # too soon to look
    powercap(5_000_000, 0, 2_000_000, 985_000_000, 0)
    seconds[0] = energy.MOST_SECONDS
    meter.sample()
    powercap(5_000_000, 0, 2_000_000, 975_000_000, 0)
    assert meter.joules == pytest.approx(995 + 990)


def test_a_resumed_training_adds_to_what_it_used_before(powercap):
    meter = energy_meter().continued(100.0)
    powercap(6_000_000, 0, 2_000_000, 990_000_000, 0)
    assert meter.joules == pytest.approx(101)
    assert energy_meter().continued(None).joules is None  # nobody knows what it used before


def test_where_nothing_can_be_read_nothing_is_told(powercap, tmp_path):
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()  # as where it is for root alone
    assert energy_meter().joules is None


def test_a_counter_that_fails_later_leaves_no_sum_of_a_part():
    values = iter([1.0, 2.0])

    def read():
        try:
            return next(values)
        except StopIteration:
            raise OSError("gone") from None

    meter = EnergyMeter([Counter(read)])
    assert meter.joules == pytest.approx(1.0)
    assert meter.joules is None


class Nvml:
    """Answers as libnvidia-ml does; ``cards``: (name, UUID, millijoules) of each slot."""

    def __init__(self, *cards):
        self.cards = cards

    def nvmlInit_v2(self):
        return 0

    def nvmlDeviceGetCount_v2(self, count):
        count._obj.value = len(self.cards)
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number, handle):
        handle._obj.value = number + 1
        return 0 if number < len(self.cards) else 2

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):
        handle._obj.value = [card[1] for card in self.cards].index(uuid.decode()) + 1
        return 0

    def nvmlDeviceGetName(self, handle, name, length):
        name.value = self.cards[handle.value - 1][0].encode()
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle, millijoules):
        millijoules._obj.value = self.cards[handle.value - 1][2]
        return 0 if millijoules._obj.value else 3


A, B = ("H100", "GPU-a", 5000), ("H100", "GPU-b", 7000)


@pytest.mark.parametrize(
    ("cards", "variables", "expected"),
    [
        ((A, B), {}, 5.0),
        ((A, B), {"CUDA_VISIBLE_DEVICES": "1"}, 7.0),
        ((A, B), {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}, 7.0),
        ((A, ("A10", "GPU-c", 9000)), {}, None),  # CUDA's order is not known
        ((A, ("A10", "GPU-c", 9000)), {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": "1"}, 9.0),
        ((A, B), {"CUDA_VISIBLE_DEVICES": "MIG-1"}, None),
        ((("P4", "GPU-d", 0),), {}, None),  # has no counter
    ],
)
def test_a_card_is_counted_where_it_is_known_which_one_it_is(monkeypatch, cards, variables, expected):
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    counter = card_counter(0, Nvml(*cards))
    assert (counter and counter.read()) == expected


def test_without_a_driver_no_card_is_counted():
    assert card_counter(0, object()) is None


def test_trainings_beside_others_count_nothing(powercap, monkeypatch):
    monkeypatch.setenv(energy.SHARED, "1")
    assert energy_meter().joules is None
    assert {place.environment.get(energy.SHARED) for place in _places("2")} == {"1"}
    assert {place.environment.get(energy.SHARED) for place in _places("1")} == {None}


def _places(count):
    places = places_for(Config(parallel=count), "cpu")
    with contextlib.ExitStack() as stack:
        return [stack.enter_context(places.one()) for _ in range(places.count)]
