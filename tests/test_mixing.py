"""mixup and cutmix: what they do to pixels and labels, how they are drawn, and what loss and accuracy make of soft labels."""

import numpy as np
import paddle
import pytest

import train
from config import Config
from training.epoch_metrics import Accuracy
from training.losses import TrainingLoss, cross_entropies
from training.mixing import Mixing
from training.model import TrainingModel

CLASSES = 5


def batch(count=6, height=12, width=10):
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (count, 3, height, width), dtype=np.uint8)
    return images, rng.integers(0, CLASSES, count)


def mixed(mixing, images, labels, *place, weights=None):
    more = [] if weights is None else [paddle.to_tensor(weights)]
    found, labels = mixing(paddle.to_tensor(images), [paddle.to_tensor(labels), *more], *place)
    return found.numpy(), *[label.numpy() for label in labels]


def soft(labels, mix):
    one_hot = np.eye(CLASSES)[labels]
    return mix.share * one_hot + (1 - mix.share) * one_hot[mix.partners]


def test_mixup_blends_photographs_and_labels_in_the_same_shares():
    images, labels = batch()
    mixing = Mixing(CLASSES, seed=3, mixup=0.7)
    for step in range(5):
        mix = mixing.draw((6, 12, 10), 2, step)
        found, found_labels = mixed(mixing, images, labels, 2, step)
        pixels = images.astype(np.float64)
        np.testing.assert_allclose(found, mix.share * pixels + (1 - mix.share) * pixels[mix.partners], atol=1e-3)
        np.testing.assert_allclose(found_labels, soft(labels, mix), atol=1e-6)


def test_cutmix_takes_one_box_and_the_labels_have_the_shares_of_the_pixels():
    images, labels = batch(count=4, height=12, width=10)
    images[:] = np.arange(4, dtype=np.uint8)[:, None, None, None]  # a photograph's number is its colour
    mixing = Mixing(CLASSES, seed=3, cutmix=1.0)
    shares = set()
    for step in range(60):
        mix = mixing.draw((4, 12, 10), 0, step)
        top, bottom, left, right = mix.box
        found, found_labels = mixed(mixing, images, labels, 0, step)
        assert found.shape == images.shape
        expected = images.copy()
        expected[:, :, top:bottom, left:right] = images[mix.partners][:, :, top:bottom, left:right]
        np.testing.assert_array_equal(found, expected)
        own = (found[:, 0] == np.arange(4)[:, None, None]).mean(axis=(1, 2))
        moved = mix.partners != np.arange(4)
        np.testing.assert_allclose(own[moved], mix.share, atol=1e-9)
        np.testing.assert_allclose(found_labels, soft(labels, mix), atol=1e-6)
        shares.add(round(mix.share, 3))
    assert len(shares) > 20
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_the_whole_photograph_may_be_replaced_or_none_of_it(monkeypatch):
    images, labels = batch()
    for share, is_other in ((0.0, True), (1.0, False)):
        mixing = Mixing(CLASSES, seed=3, cutmix=1.0)
        draw = mixing.draw
        box = (0, 12, 0, 10) if is_other else (5, 5, 3, 3)
        monkeypatch.setattr(mixing, "draw", lambda *a, draw=draw, box=box, share=share: draw(*a)._replace(box=box, share=share))
        partners = draw((6, 12, 10), 0, 0).partners
        found, found_labels = mixed(mixing, images, labels, 0, 0)
        np.testing.assert_array_equal(found, images[partners] if is_other else images)
        np.testing.assert_array_equal(found_labels.argmax(axis=1), labels[partners] if is_other else labels)


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_drawn_from_the_beta_distribution(kind, alpha):
    mixing = Mixing(CLASSES, seed=1, **{kind: alpha})
    shares = np.array([mixing.draw((8, 512, 512), 0, step).share for step in range(3000)])
    if kind == "mixup":  # cutmix's boxes are cut off at the sides, so the share that stays is larger
        assert shares.mean() == pytest.approx(0.5, abs=0.03)
        assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.1)
    else:
        assert 0.5 < shares.mean() < 0.75
        assert (shares >= 0).all()
        assert (shares <= 1).all()


def test_with_both_every_other_batch_is_cut():
    mixing = Mixing(CLASSES, seed=1, mixup=0.2, cutmix=1.0)
    cuts = [mixing.draw((8, 16, 16), 0, step).box is not None for step in range(1000)]
    assert 430 < sum(cuts) < 570


def test_seed_epoch_step_and_batch_decide_and_nothing_else():
    mixing = Mixing(CLASSES, seed=1, mixup=1.0)
    first = mixing.draw((8, 16, 16), 1, 2, 3)
    np.random.seed(5)
    paddle.seed(5)
    again = Mixing(CLASSES, seed=1, mixup=1.0).draw((8, 16, 16), 1, 2, 3)
    assert (first.share, first.partners.tolist()) == (again.share, again.partners.tolist())
    others = [Mixing(CLASSES, seed=2, mixup=1.0).draw((8, 16, 16), 1, 2, 3)]
    others += [mixing.draw((8, 16, 16), *place) for place in ((0, 2, 3), (1, 0, 3), (1, 2, 0))]
    assert len({mix.share for mix in (first, *others)}) == 5


def test_photographs_that_are_not_mixed_stay_as_they_are():
    images, labels = (paddle.to_tensor(part) for part in batch())
    for off in (Mixing(CLASSES, seed=0), Mixing(CLASSES, seed=0, mixup=0.0, cutmix=0.0)):
        assert not off
        found, [found_labels] = off(images, [labels], 0, 0)
        assert found is images
        assert found_labels is labels
    alone = images[:1], [labels[:1]]
    for kind in ("mixup", "cutmix"):
        found, found_labels = Mixing(CLASSES, seed=0, **{kind: 1.0})(*alone, 0, 0)
        assert found.dtype == paddle.uint8
        assert found_labels is alone[1]


def test_soft_labels_and_weights_are_mixed_like_photographs():
    images, labels = batch()
    weights = np.linspace(0.5, 2, 6).astype(np.float32)
    mixing = Mixing(CLASSES, seed=3, mixup=0.7)
    mix = mixing.draw((6, 12, 10), 0, 0)
    _, found, found_weights = mixed(mixing, images, labels, 0, 0, weights=weights)
    np.testing.assert_allclose(found_weights, mix.share * weights + (1 - mix.share) * weights[mix.partners], rtol=1e-6)
    _, again = mixed(mixing, images, np.eye(CLASSES, dtype=np.float32)[labels], 0, 0)
    np.testing.assert_array_equal(found, again)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_the_loss_of_a_mixed_photograph_is_the_mix_of_both_losses(smoothing):
    images, labels = batch()
    mixing = Mixing(CLASSES, seed=3, mixup=0.7)
    mix = mixing.draw((6, 12, 10), 0, 0)
    _, mixed_labels = mixed(mixing, images, labels, 0, 0)
    logits = paddle.to_tensor(np.random.default_rng(1).normal(size=(6, CLASSES)).astype(np.float32))
    own, other = (
        cross_entropies(logits, paddle.to_tensor(found), smoothing).numpy() for found in (labels, labels[mix.partners])
    )
    loss = float(TrainingLoss(smoothing)(logits, paddle.to_tensor(mixed_labels)))
    assert loss == pytest.approx((mix.share * own + (1 - mix.share) * other).mean(), rel=1e-5)


def test_accuracy_is_said_against_the_heavier_label():
    logits = paddle.to_tensor(np.eye(3, dtype=np.float32))
    labels = paddle.to_tensor(np.float32([[0.6, 0.4, 0], [0.6, 0.4, 0], [0.1, 0, 0.9]]))
    metric = Accuracy()
    metric.update(*metric.compute(logits, labels))
    assert metric.accumulate() == pytest.approx(2 / 3)


@pytest.mark.usefixtures("register_tiny_network", "quick_pictures")
@pytest.mark.parametrize("view", [{}, {"mixup": 0.5}, {"cutmix": 1.0}])
def test_a_training_mixes_its_batches_and_not_those_of_validation(listed_folder, tmp_path, monkeypatch, view):
    seen = {"train": [], "eval": []}
    originals = {side: getattr(TrainingModel, f"{side}_batch") for side in seen}
    for side in seen:

        def watch(self, images, labels, *further, side=side, original=originals[side]):
            seen[side].append((images.dtype, list(labels[0].shape)))
            return original(self, images, labels, *further)

        monkeypatch.setattr(TrainingModel, f"{side}_batch", watch)
    chosen = Config(
        net="resnet", data=str(listed_folder), runs_dir=str(tmp_path / "runs"), image_size=16, epochs=1, batch_size=4,
        num_workers=0, threads=1, **view,
    )  # fmt: skip
    assert train.main(chosen) == 0
    assert seen["eval"] == [(paddle.uint8, [3])] * 2
    assert seen["train"] == [(paddle.float32, [4, 3]) if view else (paddle.uint8, [4])] * 3
