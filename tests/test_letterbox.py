"""--eval_crop letterbox: the whole photograph in its own proportions, in every place that shows photographs to a network."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from color_profile_files import rgb_profile
from conftest import random_photograph, write_listed_photographs
from PIL import Image, ImageOps

import eval as eval_script
import export
import gradcam
import networks
import predict
import train
from config import Config, parse_config
from data.boxes import letterbox
from data.photographs import GREY, PhotographBytes, crop, read_crop, read_photograph
from exported import export_run
from exported.model_card import facts_of, write_model_card
from serving.served_network import ServedNetwork
from trained.trained_run import TrainedRun


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("size", [(60, 30), (20, 64), (50, 50), (301, 207)])
def test_a_letterbox_shows_the_whole_photograph_in_its_proportions_between_grey_bars(tmp_path, size):
    photo = random_photograph(1, size)
    photo.save(tmp_path / "photo.png")
    shown = read_crop(tmp_path / "photo.png", letterbox, 32)
    inside = photo.resize([max(1, round(32 * side / max(size))) for side in size], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(pixels(shown), pixels(ImageOps.pad(inside, (32, 32), color=GREY)))
    flipped = read_crop(tmp_path / "photo.png", letterbox, 32, flip=True)
    np.testing.assert_array_equal(pixels(flipped), pixels(shown)[:, ::-1])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_letterbox_is_that_of_the_upright_photograph(tmp_path, orientation):
    photo, exif = random_photograph(1, (61, 30)), Image.Exif()
    exif[0x0112] = orientation
    photo.save(tmp_path / "turned.png", exif=exif)
    read_photograph(tmp_path / "turned.png").save(tmp_path / "upright.png")
    shown, expected = (read_crop(tmp_path / f"{name}.png", letterbox, 25) for name in ("turned", "upright"))
    assert np.abs(pixels(shown).astype(int) - pixels(expected)).max() <= 1  # resizing rounds before or after the turn
    assert (pixels(shown) == GREY).all(axis=2).sum() == (pixels(expected) == GREY).all(axis=2).sum() == 25 * (25 - 12)


def test_a_letterbox_of_a_large_jpeg_is_decoded_smaller(tmp_path, monkeypatch):
    photo = random_photograph(1, (1600, 1000))
    photo.save(tmp_path / "photo.jpg", quality=95)
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *args, **more: sizes.append(self.size) or resize(self, *args, **more)
    )
    shown = read_crop(tmp_path / "photo.jpg", letterbox, 64)
    assert sizes == [(200, 125)]  # an eighth, not more than is needed
    monkeypatch.undo()
    expected = ImageOps.pad(photo.resize((64, 40), Image.Resampling.BILINEAR), (64, 64), color=GREY)
    assert np.abs(pixels(shown).astype(int) - pixels(expected)).mean() < 1.5


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (2, 3)])
def test_a_letterbox_of_the_thinnest_photograph_shows_a_line(size):
    shown = pixels(crop(Image.new("RGB", size, "white"), letterbox, 16))
    seen = (shown == 255).all(axis=2)
    assert seen.sum() == (16 if 1 in size else 16 * 11)
    assert (shown[~seen] == GREY).all()


def test_the_colours_of_a_letterbox_s_photograph_are_converted_and_its_bars_are_not(tmp_path):
    random_photograph(2, (40, 20)).save(tmp_path / "adobe.png", icc_profile=rgb_profile())
    shown = pixels(read_crop(tmp_path / "adobe.png", letterbox, 40))
    assert (shown[:10] == GREY).all()
    assert (shown[30:] == GREY).all()
    np.testing.assert_array_equal(shown[10:30], pixels(read_photograph(tmp_path / "adobe.png")))


@pytest.fixture(scope="module")
def trained(tmp_path_factory, quick_pictures):
    """The run of a tiny network that sees whole photographs, of 48 x 40 pixels here, between bars."""
    place = tmp_path_factory.mktemp("letterbox")
    write_listed_photographs(place / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        view = {"image_size": 24, "train_crop": "letterbox", "eval_crop": "letterbox", "flip": False}
        chosen = Config(
            net="resnet", data=str(place / "data"), runs_dir=str(place / "runs"), epochs=1, batch_size=4, num_workers=0,
            threads=1, **view,
        )  # fmt: skip
        assert train.main(chosen) == 0
        yield TrainedRun.open(place / "runs" / "resnet" / "001")


def as_the_network_sees_it(path):
    """uint8 [24, 24, 3] of a photograph of 48 x 40 pixels."""
    return pixels(ImageOps.pad(Image.open(path).resize((24, 20), Image.Resampling.BILINEAR), (24, 24), color=GREY))


def one_photograph(run):
    return run.folder.parents[2] / "data" / "cat" / "5.png"


def test_training_evaluation_prediction_and_the_server_show_the_same(trained, tmp_path):
    photograph = one_photograph(trained)
    expected = as_the_network_sees_it(photograph)
    served = ServedNetwork(trained, "resnet", Config(engine="dynamic", device="cpu"))
    validation = trained.open_validation_set()
    index = [sample.name for sample in validation.samples].index("cat/5.png")
    for shown in (
        trained.read_photograph(photograph),
        served.pixels(PhotographBytes("5.png", photograph.read_bytes())),
        validation[index][0],
    ):
        np.testing.assert_array_equal(shown.transpose(1, 2, 0), expected)
    assert trained.view["train_crop"] == "letterbox"
    assert eval_script.main(parse_config(["--run", str(trained.folder), "--num_workers", "0"], "eval")) == 0
    accuracy = json.loads((trained.folder / "eval" / "metrics.json").read_text())["acc"]
    assert accuracy == trained.header["best"]["val_acc"]
    words = ["--run", str(trained.folder), "--images", str(photograph), "--output", str(tmp_path / "found.json")]
    assert predict.main(parse_config([*words, "--format", "json", "--num_workers", "0"], "predict")) == 0
    [found] = json.loads((tmp_path / "found.json").read_text())
    assert found["confidence"] == pytest.approx(trained.predict(trained.read_photograph(photograph)[None]).max(), abs=1e-5)


def test_heat_maps_lie_over_the_photograph_between_its_bars(trained, tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr("explanation.explain_photographs.draw_gradcam", lambda *words: drawn.append(words))
    words = ["--run", str(trained.folder), "--images", str(one_photograph(trained)), "--picture", str(tmp_path / "a.png")]
    assert gradcam.main(parse_config(words, "gradcam")) == 0
    [(_, [(_, images, [explanation])], _)] = drawn
    np.testing.assert_array_equal(images[0], as_the_network_sees_it(one_photograph(trained)))
    assert explanation.predicted.heat.shape[0] == explanation.predicted.heat.shape[1]  # of all that is seen, bars too


def exported(run, *words, code=0):
    arguments = ["--run", run.folder, "--fused", "off", "--threads", 1, *words]
    assert export.main(parse_config([*map(str, arguments)], "export")) == code
    return run.folder / "export"


def test_paddlex_is_left_out_where_nobody_asked_for_it_and_refused_where_somebody_did(trained, capsys, monkeypatch):
    reason = f"PaddleX cannot lay grey bars beside a photograph, as eval_crop = 'letterbox' of {trained.folder} does"
    exported(trained, "--format", "paddle", "paddlex", code=2)
    assert capsys.readouterr().err == (
        f"export.py: error: format = 'paddlex': {reason}; --format onnx paddle exports the others\n"
    )
    monkeypatch.setattr("exported.export_run.find_python", lambda: sys.executable)
    monkeypatch.setattr("exported.export_run.check_equal", lambda *words: None)
    monkeypatch.setattr("exported.export_run.write_model_card", lambda *words: None)
    monkeypatch.setitem(export_run.FORMS, "onnx", lambda *words: None)  # converting takes long
    folder = exported(trained)
    assert capsys.readouterr().err == f"note: no paddlex: {reason}\n"
    assert sorted(entry.name for entry in folder.iterdir()) == ["labels.txt", "paddle"]


def test_the_card_says_how_photographs_are_prepared(trained, tmp_path):
    write_model_card(trained, tmp_path, {}, None)
    preparation = json.loads((tmp_path / "model_card.json").read_text())["preparation"]
    assert (preparation["eval_crop"], preparation["crop_share"]) == ("letterbox", 0.0)
    assert preparation["text"] == facts_of(trained)["preparation"]
    assert preparation["text"].endswith(
        "; the whole photograph, resized so that its longer side is 24, bilinear; in the middle of 24 x 24 pixels of the grey "
        "114, 114, 114"
    )
    assert preparation["text"] in (tmp_path / "model_card.md").read_text()


RUNTIME = """
import json
import numpy

class InferenceSession:
    def __init__(self, model):
        self.custom_metadata_map = json.load(open(model))

    def get_modelmeta(self):
        return self

    def run(self, outputs, inputs):
        numpy.save("pixels.npy", inputs["images"])
        return [numpy.full((1, 3), 1 / 3)]
"""  # in the place of onnxruntime: it keeps what it is given


@pytest.mark.parametrize("eval_crop", ["letterbox", "center", "resize"])
def test_the_example_beside_an_onnx_file_prepares_photographs_as_evaluation_does(trained, tmp_path, eval_crop):
    run = TrainedRun(trained.folder, trained.checkpoint, trained.header, trained.settings)
    run.settings = dataclasses.replace(run.settings, eval_crop=eval_crop)
    run.view = run.settings.part("view")
    shutil.copy(export_run.EXAMPLE, tmp_path)
    (tmp_path / "onnxruntime.py").write_text(RUNTIME)
    (tmp_path / "model.onnx").write_text(json.dumps(facts_of(run)))
    for number, (size, suffix, orientation) in enumerate(
        [((90, 61), ".png", 1), ((90, 61), ".png", 6), ((701, 530), ".jpg", 8), ((61, 90), ".jpg", 1), ((400, 3), ".png", 1)]
    ):
        path, exif = tmp_path / f"{number}{suffix}", Image.Exif()
        exif[0x0112] = orientation
        random_photograph(3, size).save(path, exif=exif)
        subprocess.run([sys.executable, "example.py", path], cwd=tmp_path, capture_output=True, check=True)
        [shown] = np.load(tmp_path / "pixels.npy")
        np.testing.assert_array_equal(shown, run.read_photograph(path))
