"""Attention inserted into a trained ResNet: the start is exact, gates alone learn, and only what helps is kept."""

import contextlib
import json
import math
import shutil
import time
import types

import numpy as np
import paddle
import pytest
from PIL import Image

import eval as eval_script
import networks
import sa_resnet
import surgery
import train
from comparison import costs as costs_of_networks
from comparison.costs import added_latencies
from comparison.worth import Change
from config import Config, parse_config
from data.data_sets import open_side
from data.lists import write_lists
from insertion import findings, try_attention
from insertion.combination import Combination, judge, kept
from insertion.gain import LEAST, calibrated_losses, gains_of
from insertion.gate_training import logits_of, train_gates
from insertion.operation import NORM, Operated, Operation, check_operable, exact_blocks, operate
from insertion.stage_inputs import Photographs, StageInputs, read_photographs
from insertion.tried import Tried
from sa_resnet import STAGES, BasicBlock, ResNet, block_attention
from trained.checkpoint import save_checkpoint
from trained.trained_run import TrainedRun

pytestmark = [pytest.mark.usefixtures("quick_pictures", "small_resnet"), pytest.mark.python_independent]
KINDS = ("blue", "green", "red")
EXACT = [Operation(block, (stage,), 32) for block in ("shuffle", "sge") for stage in STAGES]
EVERY = [*EXACT, *(Operation(NORM, (stage,)) for stage in (1, 4)), Operation("se", (2,)), Operation("cbam", (3,))]


def small(num_classes, attention="none", attention_stages=None, sa_groups=None, zero_init_residual=False):
    layer = block_attention(attention, attention_stages, sa_groups=sa_groups)
    return ResNet((1, 1, 1, 1), num_classes, layer, zero_init_residual, BasicBlock)


def register(patch):
    patch.setitem(networks.NETWORKS, "resnet", small)
    patch.setitem(networks.NETWORKS, "resnet18", small)


def register_operated(patch):
    """Also for what takes its weights from a run: drawing others before, and measuring times, takes longer than all else."""
    register(patch)
    patch.setattr(sa_resnet, "KaimingNormal", lambda **options: paddle.nn.initializer.Constant(0.0))
    patch.setattr(costs_of_networks, "ROUNDS", 2)


@pytest.fixture
def small_resnet(monkeypatch):
    register_operated(monkeypatch)


def write_colours(root, of_each):
    """Noisy pictures of three colours; ``of_each``: how many of a class are on the lists to train on, to validate, to test."""
    rng = np.random.default_rng(0)
    sides = [], [], []
    for label, name in enumerate(KINDS):
        (root / name).mkdir(parents=True)
        for index in range(sum(of_each)):
            color = np.full(3, 80) + 90 * (np.arange(3) == (2 - label))
            Image.fromarray(rng.normal(color, 60, (32, 32, 3)).clip(0, 255).astype(np.uint8)).save(root / name / f"{index}.png")
            sides[int(np.searchsorted(np.cumsum(of_each), index, side="right"))].append((f"{name}/{index}.png", label))
    write_lists(root, KINDS, *sides[:2], test=sides[2])


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with ``data`` and ``runs`` with one run, resnet/001."""
    folder = tmp_path_factory.mktemp("operated")
    write_colours(folder / "data", (10, 8, 16))
    config = Config(
        net="resnet", data=str(folder / "data"), runs_dir=str(folder / "runs"), image_size=32, epochs=4, batch_size=10,
        num_workers=0, threads=2, device="cpu", eval_crop="resize", train_crop="resize", optimizer="adam", learning_rate=0.001,
        warmup_epochs=0.0, ema_epochs=0.0, zero_init_residual=False,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        register(patch)
        assert train.main(config) == 0
    return folder


@contextlib.contextmanager
def changed_run(place, folder):
    """Copies the runs of ``place`` to ``folder``; in the block the run's classifier may be changed, and is then saved."""
    shutil.copytree(place / "runs", folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        register_operated(patch)
        run = TrainedRun.open(folder / "runs" / "resnet" / "001")
        classifier = run.load_classifier()
        yield classifier
        save_checkpoint(run.checkpoint, classifier, run.header)


@pytest.fixture(scope="module")
def spoilt(place, tmp_path_factory):
    """The same with a run whose last stage has channels that disturb: those that share one gate of Shuffle Attention."""
    folder = tmp_path_factory.mktemp("spoilt")
    with changed_run(place, folder) as classifier:
        order = block_attention("shuffle", sa_groups=32)(512).initial_map(512).order
        disturbing = np.flatnonzero(order % 16 < 3)
        weight = classifier.network.fc.weight.numpy()
        weight[disturbing] = np.random.default_rng(0).normal(0, 0.3, weight[disturbing].shape)
        classifier.network.fc.weight.set_value(weight)
        block = classifier.network.layer4[0]
        for values, factor in ((block.downsample[1].weight, 0), (block.downsample[1].bias, 0), (block.last_norm.weight, 4)):
            changed = values.numpy()
            changed[disturbing] *= factor  # all of the disturbance comes through what attention gates
            values.set_value(changed)
    return folder


@pytest.fixture(scope="module")
def random_run(place, tmp_path_factory):
    """A run all of whose batch norms have random weights, biases and statistics."""
    folder = tmp_path_factory.mktemp("random")
    with changed_run(place, folder) as classifier:
        paddle.seed(3)
        for layer in classifier.sublayers():
            if isinstance(layer, paddle.nn.BatchNorm2D):
                for tensor, low, high in ((layer.weight, 0.5, 1.5), (layer.bias, -0.3, 0.3), (layer._mean, -0.3, 0.3)):
                    tensor.set_value(paddle.uniform(tensor.shape, min=low, max=high))
                layer._variance.set_value(paddle.uniform(layer._variance.shape, min=0.5, max=2.0))
    return folder / "runs" / "resnet" / "001"


@pytest.fixture(scope="module")
def photographs():
    rng = np.random.default_rng(1)
    return Photographs(rng.integers(0, 256, (12, 3, 32, 32), np.uint8), rng.integers(0, 3, 12), np.arange(12))


def operated_on(folder, runs, *words):
    """(exit code, table.json) of surgery.py on the run of ``runs`` with the photographs of ``folder``."""
    words = ["--data", folder / "data", "--runs_dir", runs, "--num_workers", "0", "--threads", "2", "--device", "cpu", *words]
    before = len(list((runs / "surgery").glob("*")))
    code = surgery.main(parse_config([*map(str, words)], "surgery"))
    if code:
        return code, None
    table = runs / "surgery" / f"{before + 1:03d}" / "table.json"
    return code, json.loads(table.read_text(encoding="utf-8"))


def values(classifier):
    return {name: value.numpy() for name, value in classifier.state_dict().items()}


# The operation


@pytest.mark.parametrize("operation", EXACT, ids=lambda one: f"{one.block} {one.stages[0]}")
def test_an_exact_start_computes_what_the_network_did(random_run, photographs, operation):
    run = TrainedRun.open(random_run)
    images = paddle.to_tensor(photographs.images)
    with paddle.no_grad():
        found, expected = operate(run, operation).classifier(images).numpy(), run.classifier()(images).numpy()
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("operation", EVERY, ids=lambda one: f"{one.block} {one.stages[0]}")
def test_training_changes_the_gates_and_not_a_bit_of_anything_else(random_run, photographs, operation):
    run = TrainedRun.open(random_run)
    operated, base = operate(run, operation), run.classifier()
    before = values(operated.classifier)
    inputs = StageInputs(base, operation.stages[0], photographs, 4)
    assert math.isfinite(train_gates(operated, inputs, 1, 4))
    after = values(operated.classifier)
    changed = {name for name in before if before[name].tobytes() != after[name].tobytes()}
    assert changed
    assert changed <= {f"network.{name}" for name in operated.gates}
    if operation.block == NORM:
        stage = operation.stages[0]
        assert changed == {f"network.layer{stage}.0.bn2.weight", f"network.layer{stage}.0.bn2.bias"}
    else:
        assert all(f"layer{operation.stages[0]}." in name for name in changed)


def test_what_a_stage_sees_is_the_same_kept_or_computed_anew(random_run, photographs):
    run = TrainedRun.open(random_run)
    base = run.classifier()
    with paddle.no_grad():
        expected = base(paddle.to_tensor(photographs.images)).numpy()
    for stage in STAGES:
        for memory in (0, 2**30):
            inputs = StageInputs(base, stage, photographs, 5, memory)
            assert (inputs.kept is None) == (memory == 0)
            np.testing.assert_allclose(logits_of(Operated(base, {}), inputs, 5), expected, rtol=1e-4, atol=1e-4)


def test_photographs_fill_no_more_than_the_memory_they_may_have(place):
    config = Config(data=str(place / "data"), train_crop="random", image_size=32)
    dataset = open_side(config.data_source(), "train", 32, **{"train_crop": "random"})
    whole = read_photographs(dataset, 8, 0, views=3)
    assert whole.images.shape == (90, 3, 32, 32)
    assert (whole.images[:30] != whole.images[30:60]).any(), "views differ"
    assert [sample.label for sample in dataset.samples] == whole.labels.tolist()
    part = read_photographs(dataset, 8, 0, views=3, memory=12 * 3 * 32**2)
    assert (len(part), part.views) == (12, 1)
    np.testing.assert_array_equal(part.labels, whole.labels[part.rows])
    np.testing.assert_array_equal(part.images, whole.images[:30][part.rows])
    assert read_photographs(dataset, 8, 0, views=3, memory=60 * 3 * 32**2).views == 2


def test_the_layers_with_an_exact_start_are_those_that_the_help_names():
    assert exact_blocks() == ["shuffle", "sge"]


# The gain


def test_of_insertions_that_do_nothing_few_surgeries_keep_one():
    rng, claims, surgeries = np.random.default_rng(0), 0, 60
    for number in range(surgeries):
        common = rng.standard_t(4, 200) * 0.1  # heavy tails, as losses have, and insertions that are alike
        differences = [common + rng.standard_t(4, 200) * 0.1 for _ in range(8)]
        claims += any(gain.is_sure for gain in gains_of(differences, seed=number))
    assert claims <= 4  # of a two-sided 5% half is on this side; more than 4 of 60 come once in fifty


def test_a_gain_is_found_and_its_interval_covers_it():
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 0.2, 300) for _ in range(8)]
    gains = gains_of([noise[0] + 0.06, *noise[1:]])
    assert [gain.is_sure for gain in gains] == [True] + [False] * 7
    assert gains[0].low < 0.06 < gains[0].high
    assert gains[0].mean == pytest.approx(0.06, abs=0.04)


def test_many_insertions_have_wider_intervals_than_one_and_equal_photographs_count_once():
    rng = np.random.default_rng(0)
    values = [rng.normal(0, 0.2, 300) for _ in range(12)]
    one, many = gains_of(values[:1])[0], gains_of(values)[0]
    assert many.high - many.low > 1.2 * (one.high - one.low)
    copied = gains_of([np.repeat(values[0], 4)], np.repeat(np.arange(300), 4))[0]
    assert copied.low == pytest.approx(one.low, abs=0.002)
    assert copied.high == pytest.approx(one.high, abs=0.002)


def test_rounding_and_single_photographs_are_no_gain():
    assert not gains_of([np.full(50, 1e-7)])[0].is_sure
    assert not gains_of([np.full(1, 0.5)])[0].is_sure
    assert gains_of([]) == []
    assert not gains_of([np.random.default_rng(0).normal(LEAST / 2, 1e-5, 50)])[0].is_sure


def test_more_confidence_alone_is_no_gain():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(0, 1, (200, 3)) + 2 * np.eye(3)[labels]
    first, sharper = calibrated_losses(logits, labels), calibrated_losses(3 * logits, labels)
    np.testing.assert_allclose(first, sharper, atol=1e-4)


def test_training_that_diverged_is_left_out_of_the_intervals():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 60)
    logits = rng.normal(0, 1, (60, 3))
    base = Tried.of(Operation("none", ()), logits, labels)
    better = Tried.of(Operation("sge", (1,)), logits + np.eye(3)[labels] * 3, labels)
    broken = Tried.of(Operation("sge", (2,)), np.full((60, 3), np.nan), labels)
    control = Tried.of(Operation(NORM, (1,)), logits + np.eye(3)[labels] * 3, labels)
    assert broken.diverged
    assert judge(base, [broken, better])[0] is None
    assert kept(base, [broken, better, control]) == [False, True, False]


# The script


@pytest.fixture(scope="module")
def helped(place, spoilt):
    """table.json of a surgery on the last stage of the spoilt run."""
    with pytest.MonkeyPatch.context() as patch:
        register_operated(patch)
        patch.setattr(try_attention, "STAGES", (4,))
        code, table = operated_on(place, spoilt / "runs", "--blocks", "shuffle", "--gate_epochs", "12", "--batch_size", "3")
    assert code == 0
    return table


def test_attention_that_helps_is_kept_and_the_control_is_named(helped):
    row, control = helped["insertions"]
    assert row["kept"]
    assert row["gain_low"] > 0
    assert row["gain"] > 0.01
    assert (row["parameters"], row["exact_start"], row["start_loss"]) == (24, True, None)
    assert helped["combination"]["gain"]["mean"] == pytest.approx(row["gain"], abs=1e-5)
    assert not control["kept"], "it is no attention"
    assert control["parameters"] == 0
    assert row["beyond_norm"] == pytest.approx(row["gain"] - control["gain"])
    lowers = f"shuffle in stage 4 lowers the test loss of resnet 001 by {row['gain']:.4f} ({row['gain_low']:.4f} to "
    assert lowers in helped["verdict"]
    assert control["gain"] > row["gain"], "batch norm can shut off single channels"
    assert not helped["verdict"].startswith("Attention helps")
    assert (
        f"training the last batch norms of a stage alone, which costs nothing at work, has a gain of {control['gain']:+.4f} "
        in (helped["verdict"])
    )


def found_by(gains):
    """The Findings of insertions with these gains: {(block, stage): mean of a difference of losses of 200 photographs}."""
    rng = np.random.default_rng(0)
    before = rng.gamma(1.0, 1.0, 200) + 1

    def tried(block, stage, gain):
        losses = before - gain * rng.normal(1, 0.5, 200)
        return Tried(Operation(block, stage), losses, losses < 1, {}, None, 0.1, 1.0)

    insertions = [tried(name, (stage,), gain) for (name, stage), gain in gains.items()]
    run = types.SimpleNamespace(name="resnet 001", folder="runs/resnet/001", net="resnet")
    costs = {one.operation: Change(0.2, 0.1, 0.3, 25) for one in insertions}
    base = Tried(Operation("none", ()), before, before < 1, {}, None, 0.1, 1.0)
    return findings.Findings(run, Config(), "test", [], base, insertions, costs, None, "cpu")


def test_the_verdict_names_gain_interval_cost_and_the_control():
    found = found_by({("sge", 4): 0.05, (NORM, 4): 0.001})
    rows = findings.rows_of(found)
    assert [row.kept for row in rows] == [True, False]
    gain = rows[0].gain
    latency = Change(0.2, 0.1, 0.3, 25)
    combination = Combination(Operation("sge", (4,)), None, gain, None, 64, latency, None)
    assert findings.verdict(found, rows, combination) == (
        f"Attention helps this finished network: sge in stage 4 lowers the test loss of resnet 001 by {gain.mean:.4f} "
        f"({gain.low:.4f} to {gain.high:.4f}) for +0.20 (+0.10 to +0.30) ms an image."
    )
    as_good = found_by({("sge", 4): 0.05, (NORM, 4): 0.05})
    assert "attention need not be the reason" in findings.verdict(as_good, findings.rows_of(as_good), combination)


def test_a_start_that_is_not_exact_is_marked(place, spoilt, monkeypatch):
    monkeypatch.setattr(try_attention, "STAGES", (4,))
    table = operated_on(place, spoilt / "runs", "--blocks", "se", "simam", "sge", "--gate_epochs", "1")[1]
    rows = {row["block"]: row for row in table["insertions"]}
    assert {block for block, row in rows.items() if not row["exact_start"]} == {"se", "simam"}
    for block in ("se", "simam"):
        start = rows[block]["start_loss"]
        assert (
            f"{block} in stage 4 is not an exact start: it begins at a loss of {start:.4f} in place of {table['loss']:.4f}"
            in (" ".join(table["notes"]))
        )
    assert rows["simam"]["loss"] == pytest.approx(rows["simam"]["start_loss"]), "it has nothing to train"
    assert rows["sge"]["start_loss"] is None


def test_the_network_that_is_left_is_a_run(helped, place, spoilt, capsys):
    together = helped["combination"]
    run, before = TrainedRun.open(together["run"]), TrainedRun.open(spoilt / "runs" / "resnet" / "001")
    assert run.settings.attention == together["block"]
    assert list(run.settings.attention_stages) == together["stages"]
    test_set = run.open_test_set(Config(data=str(place / "data")).data_source())
    seen = read_photographs(test_set, 8, 0)
    losses = [calibrated_losses(one.classifier()(paddle.to_tensor(seen.images)).numpy(), seen.labels) for one in (before, run)]
    assert np.mean(losses[0] - losses[1]) == pytest.approx(together["gain"]["mean"], abs=1e-4)
    own, other = values(run.classifier()), values(before.classifier())
    assert all(own[name].tobytes() == value.tobytes() for name, value in other.items() if "layer" not in name)
    assert eval_script.main(Config(run=together["run"], data=str(place / "data"), num_workers=0, device="cpu")) == 0
    assert f"accuracy {run.header['best']['val_acc']:.4f}" in capsys.readouterr().out


def test_without_training_nothing_is_gained_and_the_tables_say_so(place, spoilt, capsys):
    code, table = operated_on(place, spoilt / "runs", "--gate_epochs", "0")
    assert code == 0
    assert table["split"] == "test"
    assert table["photographs"] == 48
    assert max(abs(row["gain"]) for row in table["insertions"]) < 1e-5
    assert not any(row["kept"] for row in table["insertions"])
    assert table["combination"] is None
    assert "No block in any stage lowers the test loss of resnet 001 by more than chance explains" in capsys.readouterr().out
    folder = sorted((spoilt / "runs" / "surgery").iterdir())[-1]
    assert {path.name for path in folder.iterdir()} == {"table.md", "table.csv", "table.json", "gains.png"}


def test_the_same_seed_gives_the_same_figures(place, spoilt, monkeypatch):
    monkeypatch.setattr(try_attention, "STAGES", (4,))
    times = {"seconds", "latency_ms", "latency_ms_low", "latency_ms_high"}
    tables = []
    for seed in (5, 5, 6):
        words = ("--split", "val", "--blocks", "sge", "--gate_epochs", "1", "--seed", seed)
        tables.append(operated_on(place, spoilt / "runs", *words)[1]["insertions"])
    first, again, other = ([{k: v for k, v in row.items() if k not in times} for row in rows] for rows in tables)
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attention": "se"}, "holds resnet with attention = 'se', so its blocks have one already: give the --run of a plain"),
        ({"net": "se_resnet50"}, "holds se_resnet50: attention is inserted into resnet, resnet18, resnet34, resnet50"),
        ({"net": "vgg19"}, "holds vgg19: attention is inserted into resnet, resnet18"),
    ],
)
def test_networks_that_attention_cannot_be_inserted_into_are_refused(random_run, changes, reason):
    run = TrainedRun.open(random_run)
    run.settings = Config(**{"net": "resnet", **changes})
    run.net = run.settings.net
    with pytest.raises(ValueError) as error:
        check_operable(run)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


def test_groups_that_do_not_fit_and_a_missing_run_are_refused(place, spoilt, tmp_path, capsys):
    assert operated_on(place, spoilt / "runs", "--sa_groups", "48")[0] == 2
    error = capsys.readouterr().err
    assert "blocks = 'shuffle': it does not fit the 64 channels of stage 1" in error
    assert operated_on(place, tmp_path)[0] == 2
    assert "no finished run of resnet in" in capsys.readouterr().err


def test_added_latencies_are_those_against_the_first():
    class Slow(paddle.nn.Layer):
        def forward(self, images):
            time.sleep(0.005)
            return images

    found = added_latencies({"": paddle.nn.Identity(), "slow": Slow(), "same": paddle.nn.Identity()}, 8, 25)
    assert set(found) == {"slow", "same"}
    assert 4 < found["slow"].middle < 50
    assert found["slow"].low <= found["slow"].middle <= found["slow"].high
    assert found["same"].middle < 4
