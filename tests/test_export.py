"""export.py: a trained network for other programs, equal to it or not written."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from color_profile_files import rgb_profile
from conftest import CLASSES, random_photograph
from PIL import Image

import eval as eval_script
import export
import networks
from machine import whole_folder as module
from config import Config, parse_config
from evaluation.scores import wilson_interval
from exported import export_run, onnx_model
from exported.answer import answers_of
from exported.equality import Difference, Sample, check_equal
from exported.export_error import ExportError
from exported.model_card import facts_of, write_labels, write_model_card
from exported.paddlex_folder import write_inference_yml
from inference.program import program_file
from machine.regular_file import sha256_of
from machine.whole_folder import whole_folder
from trained.known_data import note_places
from trained.trained_run import TrainedRun

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "exported" / "example.py"
try:
    onnx_model.find_python()
    WITH_ONNX = True
except ExportError:
    WITH_ONNX = False
needs_onnx = pytest.mark.skipif(not WITH_ONNX, reason="the packages of requirements-export.txt are not installed")


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture
def run(tiny_run_place, tmp_path):
    """A run of a tiny network of its own, whose folder has a space in its path."""
    folder = tmp_path / "my runs" / "resnet" / "001"
    shutil.copytree(tiny_run_place / "runs" / "resnet" / "001", folder)
    return TrainedRun.open(folder)


def exported(run, *words, code=0):
    """Run the script; the folder that it writes."""
    arguments = ["--run", run.folder, "--fused", "off", "--threads", 1, *words]
    assert export.main(parse_config([*map(str, arguments)], "export")) == code
    return run.folder / "export"


def files_of(folder):
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


@pytest.fixture(scope="module")
def whole_export(tiny_run_place, tmp_path_factory):
    """The export in all forms that can be made here: (run, folder)."""
    folder = tmp_path_factory.mktemp("exported") / "resnet" / "001"
    shutil.copytree(tiny_run_place / "runs" / "resnet" / "001", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(networks.NETWORKS, "resnet", networks.Lazy("tiny_network", "TinyNetwork"))
        run = TrainedRun.open(folder)
        exported(run, "--format", *(["onnx"] if WITH_ONNX else []), "paddle", "paddlex", "--licence", "CC BY 4.0")
    return run, folder / "export"


def photographs_of(run, count=4):
    dataset = run.open_validation_set()
    return np.stack([dataset[index][0] for index in range(count)])


def test_a_run_may_lie_below_another_folder_than_the_toolkit(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = exported(TrainedRun.open(run.folder.relative_to(tmp_path)), "--format", "onnx" if WITH_ONNX else "paddle")
    assert not folder.is_absolute()
    assert {"model.onnx" if WITH_ONNX else "paddle/inference.pdiparams"} <= set(files_of(folder))


def test_every_form_answers_as_the_network_does_for_any_batch(whole_export):
    run, folder = whole_export
    pixels = photographs_of(run)
    forms = {"paddle": program_file(folder / "paddle"), "paddlex": program_file(folder / "paddlex")}
    if WITH_ONNX:
        forms["onnx"] = folder / "model.onnx"
    for runtime, model in forms.items():
        for found in answers_of(runtime, model, pixels, 1, 1, 4):
            np.testing.assert_allclose(found, run.predict(pixels), atol=1e-5)


def test_the_folder_holds_what_it_should_and_nothing_else(whole_export):
    run, folder = whole_export
    program = program_file(folder / "paddle").name
    programs = [f"{form}/{name}" for form in ("paddle", "paddlex") for name in (program, "inference.pdiparams")]
    with_onnx = ["model.onnx", "example.py"] if WITH_ONNX else []
    cards = ["labels.txt", "model_card.json", "model_card.md"]
    assert files_of(folder) == sorted([*programs, "paddlex/inference.yml", *with_onnx, *cards])
    assert [entry.name for entry in run.folder.iterdir() if "export" in entry.name] == ["export"]
    assert (folder / "labels.txt").read_text() == "cat\ndog\nsheep\n"


def test_no_file_names_a_place_of_this_machine(whole_export):
    run, folder = whole_export
    for file in folder.rglob("*"):
        content = file.read_bytes() if file.is_file() else b""
        for place in (str(ROOT), str(run.folder.parent), os.path.dirname(np.__file__), str(Path.home())):
            assert place.encode() not in content, f"{file.name} names {place}"


def test_the_settings_of_paddlex_prepare_photographs_as_evaluation_does(whole_export):
    run, folder = whole_export
    content = yaml.safe_load((folder / "paddlex" / "inference.yml").read_text())
    assert content["PostProcess"]["Topk"] == {"topk": 3, "label_list": list(CLASSES)}
    steps = {name: options for step in content["PreProcess"]["transform_ops"] for name, options in step.items()}
    assert list(steps) == ["ResizeImage", "NormalizeImage", "ToCHWImage"]  # this run shows whole photographs
    assert steps["ResizeImage"] == {"size": [32, 32], "interpolation": "BILINEAR", "backend": "pil"}
    pixels = photographs_of(run).astype(np.float32)
    mean, std = (np.float32(steps["NormalizeImage"][key])[:, None, None] for key in ("mean", "std"))
    np.testing.assert_array_equal((pixels * steps["NormalizeImage"]["scale"] - mean) / std, pixels)


def test_a_central_crop_is_that_of_evaluation_within_a_pixel(run, tmp_path):
    settings = dataclasses.replace(run.settings, eval_crop="center", image_size=224)
    write_inference_yml(SimpleNamespace(settings=settings, classes=run.classes), tmp_path)
    resize, crop, *_ = yaml.safe_load((tmp_path / "inference.yml").read_text())["PreProcess"]["transform_ops"]
    assert (resize["ResizeImage"]["resize_short"], crop) == (256, {"CropImage": {"size": 224}})


def test_the_card_says_what_is_known_and_that_nothing_was_evaluated(whole_export):
    run, folder = whole_export
    card = json.loads((folder / "model_card.json").read_text())
    assert (card["network"]["name"], card["classes"], card["temperature"]) == ("resnet", list(CLASSES), run.temperature)
    assert card["preparation"]["inside_the_network"] == {"mean": [0.5, 0.25, 0.75], "std": [0.5, 0.25, 1.0]}
    assert (card["evaluation"], card["licence"]["network"]) == ({}, "CC BY 4.0")
    assert card["training"]["photographs"]["train"] == 12
    for name, facts in card["files"].items():
        assert facts["sha256"] == sha256_of(folder / name)
    text = (folder / "model_card.md").read_text()
    assert "| accuracy | not evaluated (eval.py); " in text
    assert "| licence of the network | CC BY 4.0 |" in text


def test_the_card_gives_the_accuracy_with_its_interval_once_there_is_an_evaluation(run, tmp_path):
    words = {"run": str(run.folder), "num_workers": 0, "fused": "off", "given": frozenset({"run"})}
    assert eval_script.main(Config(**words)) == 0
    accuracy = json.loads((run.folder / "eval" / "metrics.json").read_text())["acc"]
    write_model_card(run, tmp_path, {}, None)
    found = json.loads((tmp_path / "model_card.json").read_text())["evaluation"]["val"]
    assert found == {
        "accuracy": accuracy, "interval_95": list(wilson_interval(round(6 * accuracy), 6)), "photographs": 6
    }  # fmt: skip
    low, high = found["interval_95"]
    assert (
        f"| accuracy, val | {accuracy:.1%} (95% interval {low:.1%} to {high:.1%}) on 6 photographs of the validation list"
        in (tmp_path / "model_card.md").read_text()
    )


@pytest.mark.parametrize("change", [{"epoch": 9}, {"same_list_as_in_training": False}, {"photographs": "many"}])
def test_an_evaluation_of_something_else_does_not_count(run, tmp_path, change):
    (run.folder / "eval").mkdir()
    metrics = {"format": 2, "loss": 0.7, "acc": 0.5, "photographs": 6, "epoch": run.epoch, "same_list_as_in_training": True}
    (run.folder / "eval" / "metrics.json").write_text(json.dumps({**metrics, **change}))
    write_model_card(run, tmp_path, {}, None)
    assert json.loads((tmp_path / "model_card.json").read_text())["evaluation"] == {}


HOSTILE = [
    "a: b # c",
    "'single' \"double\"",
    "\U0001f431\u200d\u2b1b",
    "- |\t*x*",
    "</script><b>|`",
    "a\u2028b\x85c",
    "\udc80",
    "\x00",
]


def test_hostile_class_names_survive(run, tmp_path):
    run.classes = HOSTILE
    write_inference_yml(run, tmp_path)
    write_labels(run, tmp_path)
    read = yaml.safe_load((tmp_path / "inference.yml").read_text(encoding="utf-8"))
    assert read["PostProcess"]["Topk"]["label_list"] == HOSTILE
    lines = (tmp_path / "labels.txt").read_bytes().decode("utf-8").split("\n")
    assert len(lines) == len(HOSTILE) + 1
    assert json.loads(facts_of(run)["classes"]) == HOSTILE
    assert all(value.isascii() and value.isprintable() for value in facts_of(run).values())


def top_of_example(folder, photograph, tmp_path):
    """{class: probability} of what the example prints, in a home of its own, which must stay empty."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(home), "TMPDIR": str(home)}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, folder / "example.py", photograph], env=environment, capture_output=True, text=True, check=True
    )
    assert "Warning" not in done.stderr  # ONNX Runtime may say there what it thinks of the machine's graphics card
    assert list(home.rglob("*")) == []
    return {name: float(share.rstrip("%")) / 100 for share, name in map(str.split, done.stdout.splitlines())}


@needs_onnx
@pytest.mark.parametrize("kind", ["plain", "turned", "transparent", "large JPEG", "Adobe RGB", "palette", "grey"])
def test_the_example_prepares_photographs_as_evaluation_does(whole_export, tmp_path, kind):
    run, folder = whole_export
    picture, path, options = random_photograph(3, (90, 61)), tmp_path / "photograph.png", {}
    if kind == "turned":
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 6
    elif kind == "transparent":
        picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    elif kind == "large JPEG":  # decoded at a fraction of its size, and turned
        picture, path = random_photograph(3, (701, 530)), tmp_path / "photograph.jpg"
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = 8
    elif kind == "Adobe RGB":
        options["icc_profile"] = rgb_profile()
    elif kind in ("palette", "grey"):
        picture = picture.convert("P" if kind == "palette" else "L")
    picture.save(path, **options)
    expected = run.predict(run.read_photograph(path)[None])[0]
    found = top_of_example(folder, path, tmp_path)
    assert list(found) == [CLASSES[label] for label in np.argsort(-expected)]
    np.testing.assert_allclose([found[name] for name in CLASSES], expected, atol=2e-3)  # it prints tenths of a per cent


def test_the_example_is_short():
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 30
    assert max(map(len, lines)) <= 128


@needs_onnx
def test_an_onnx_file_says_what_it_needs_and_takes_any_number_of_images(whole_export):
    import onnx

    _, folder = whole_export
    model = onnx.load(folder / "model.onnx")
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert (json.loads(facts["classes"]), facts["image_size"], facts["crop_share"]) == (list(CLASSES), "32", "0.0")
    (images,), (probabilities,) = model.graph.input, model.graph.output
    assert (images.name, images.type.tensor_type.elem_type) == ("images", onnx.TensorProto.UINT8)
    assert [d.dim_param or d.dim_value for d in images.type.tensor_type.shape.dim] == ["N", 3, 32, 32]
    assert probabilities.name == "probabilities"
    assert [d.dim_param or d.dim_value for d in probabilities.type.tensor_type.shape.dim] == ["N", 3]
    assert not [node for node in model.graph.node if node.op_type == "Constant" and node.attribute[0].name == "value"]


class Wrong:
    """Answers in the place of an exported model's process: ``change`` is made to the network's own."""

    def __init__(self, probabilities, change):
        self.probabilities, self.change = probabilities, change

    def __call__(self, module, arguments, scratch, what, python=sys.executable):
        answers = np.stack([self.probabilities] * 2)
        np.save(arguments[3], self.change(answers))


def checked(monkeypatch, tmp_path, change):
    probabilities = np.float32([[0.7, 0.2, 0.1], [0.1, 0.50004, 0.49996], [0.3, 0.3, 0.4]])
    sample = Sample(["a.jpg", "b.jpg", "c.jpg"], np.zeros((3, 3, 8, 8), np.uint8), probabilities)
    monkeypatch.setattr("exported.equality.run_apart", Wrong(probabilities, change))
    return check_equal(sample, list(CLASSES), "onnx", tmp_path / "model.onnx", tmp_path, sys.executable, 1)


def shifted(batch, photograph, *amounts):
    def change(answers):
        answers[batch, photograph] += np.float32(amounts)
        return answers

    return change


def test_equal_answers_and_those_within_the_tolerance_pass(monkeypatch, tmp_path):
    found = checked(monkeypatch, tmp_path, shifted(1, 0, -9e-5, 9e-5, 0))
    assert (found.same, found.total, round(found.largest, 6)) == (3, 3, 9e-5)


def test_a_tie_may_fall_either_way(monkeypatch, tmp_path):
    assert checked(monkeypatch, tmp_path, shifted(0, 1, 0, -6e-5, 6e-5)).same == 3


@pytest.mark.parametrize("batch", [0, 1])
def test_one_wrong_answer_in_one_batch_is_an_error_that_names_the_worst_photograph(monkeypatch, tmp_path, batch):
    with pytest.raises(ExportError) as caught:
        checked(monkeypatch, tmp_path, shifted(batch, 2, 0.2, 0, -0.2))
    assert str(caught.value) == (
        f"model.onnx does not answer as the network does: 0.2 apart, at most 0.0001 is allowed. Worst is c.jpg, "
        f"{(1, 3)[batch]} at once: cat 50.00%, not sheep 40.00%. Nothing was written; --format can leave this form out"
    )


@pytest.mark.parametrize("change", [lambda a: a * np.nan, lambda a: a[:, :, :2], lambda a: a[:, :2]])
def test_answers_that_are_no_numbers_or_of_another_shape_are_an_error(monkeypatch, tmp_path, change):
    with pytest.raises(ExportError, match="othing was written"):
        checked(monkeypatch, tmp_path, change)


@pytest.fixture
def quick_program(monkeypatch):
    """Programs that take no time to write, and answer as the network does."""

    def write_program(run, folder, dtype="uint8"):
        folder.mkdir()
        (folder / "inference.json").write_text("{}")
        return folder / "inference.json"

    monkeypatch.setattr(export_run, "write_program", write_program)
    monkeypatch.setattr(export_run, "check_equal", lambda sample, *rest: Difference(0.0, 6, 6))


def test_what_is_not_equal_is_not_written_and_an_older_export_stays(run, monkeypatch, quick_program, capsys):
    before = files_of(exported(run, "--format", "paddle"))

    def fail(*arguments):
        raise ExportError("not equal")

    monkeypatch.setattr(export_run, "check_equal", fail)
    capsys.readouterr()
    folder = exported(run, "--format", "paddle", "paddlex", code=2)
    assert capsys.readouterr().err == "export.py: error: not equal\n"
    assert files_of(folder) == before
    assert [entry.name for entry in run.folder.iterdir() if "export" in entry.name] == ["export"]


def test_a_new_export_replaces_the_whole_older_one(run, quick_program):
    exported(run, "--format", "paddle", "paddlex")
    assert not (exported(run, "--format", "paddlex") / "paddle").exists()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_an_interruption_and_a_full_disk_leave_nothing(run, monkeypatch, quick_program, capsys, error):
    def fail(*arguments):
        raise error

    monkeypatch.setattr(export_run, "write_model_card", fail)
    before = files_of(run.folder)
    exported(run, "--format", "paddle", code=130 if isinstance(error, KeyboardInterrupt) else 2)
    assert files_of(run.folder) == before
    said = "interrupted" if isinstance(error, KeyboardInterrupt) else f"error: No space left on device: {run.folder / 'export'}"
    assert capsys.readouterr().err == f"export.py: {said}\n"


def test_a_training_that_goes_on_meanwhile_is_named(run, monkeypatch, quick_program, capsys):
    plain = export_run.write_program

    def train_on(*arguments):
        os.utime(run.checkpoint, ns=(1, 1))
        return plain(*arguments)

    monkeypatch.setattr(export_run, "write_program", train_on)
    assert not exported(run, "--format", "paddle", code=2).exists()
    assert "best.safetensors has changed meanwhile: the run is being trained" in capsys.readouterr().err


def test_photographs_that_have_gone_are_an_error_that_names_the_remedy(run, tiny_run_place, tmp_path, capsys, quick_program):
    moved = tmp_path / "moved"
    shutil.copytree(tiny_run_place / "data", moved)
    settings = (run.folder / "config.yaml").read_text().replace(str(tiny_run_place / "data"), str(tmp_path / "gone"))
    (run.folder / "config.yaml").write_text(settings)
    note_places([str(tmp_path / "gone")])  # as the training with them did
    exported(run, "--format", "paddle", code=2)
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "gone") in line
    assert "--data FOLDER names another place" in line
    assert not (run.folder / "export").exists()
    exported(run, "--format", "paddle", "--data", moved)
    for photograph in moved.glob("*/*.png"):  # the lists are left, the photographs are not
        photograph.unlink()
    exported(run, "--format", "paddle", "--data", moved, code=2)
    assert "--data FOLDER names another place" in capsys.readouterr().err


def test_missing_packages_are_named_with_the_command_that_installs_them(run, monkeypatch, capsys):
    monkeypatch.setattr(onnx_model, "PACKAGES", ("onnx", "no_such_package"))
    monkeypatch.setattr(onnx_model.paddle, "__version__", "3.3.1")
    exported(run, "--format", "onnx", code=2)
    line = capsys.readouterr().err
    assert f"{sys.executable} -m pip install -r {ROOT / 'requirements-export.txt'}" in line
    monkeypatch.setattr(onnx_model.paddle, "__version__", "2.6.2")
    exported(run, "--format", "onnx", code=2)
    assert f"{ROOT / 'install.py'} --export --venv .venv-export --paddle cpu" in capsys.readouterr().err
    assert not (run.folder / "export").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="needs signals")
def test_a_converter_that_aborts_its_process_is_one_line(tmp_path, monkeypatch):
    stub = tmp_path / "paddle2onnx.py"
    stub.write_text("import os\ndef export(*a, **k):\n    print('[ERROR] Oops: operator maxout', flush=True)\n    os.abort()\n")
    (tmp_path / "onnx.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ExportError) as caught:
        onnx_model.write_onnx(tmp_path / "inference.json", tmp_path / "model.onnx", {}, tmp_path, sys.executable)
    assert str(caught.value) == (
        "converting the network to ONNX (paddle2onnx) failed: its process ended with SIGABRT; [ERROR] Oops: operator maxout"
    )


def test_what_a_killed_export_left_goes_and_what_another_is_making_stays(tmp_path):
    target = tmp_path / "export"
    dead = tmp_path / ".new-export-dead"
    dead.mkdir()
    (dead / "part").write_text("half")
    other = subprocess.Popen(
        [sys.executable, "-c", OTHER_EXPORT, str(target)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout.readline() == "ready\n"
        with whole_folder(target) as new:
            (new / "file").write_text("mine")
        assert not dead.exists()
        assert files_of(target) == ["file"]
        other.communicate("\n", timeout=60)
    finally:
        other.kill()
    assert other.returncode == 0
    assert (target / "file").read_text() == "theirs"
    assert [entry.name for entry in tmp_path.iterdir()] == ["export"]


OTHER_EXPORT = """
import sys
from pathlib import Path
from machine.whole_folder import whole_folder
with whole_folder(Path(sys.argv[1])) as new:
    print("ready", flush=True)
    sys.stdin.readline()
    (new / "file").write_text("theirs")
"""


def test_a_finished_folder_is_not_tidied_away_before_it_has_its_name(tmp_path, monkeypatch):
    put = module._put

    def put_while_another_export_starts(new, path):
        start = "import sys; from pathlib import Path; from machine.whole_folder import _tidy; _tidy(Path(sys.argv[1]))"
        subprocess.run([sys.executable, "-c", start, str(path)], cwd=ROOT, check=True)
        put(new, path)

    monkeypatch.setattr(module, "_put", put_while_another_export_starts)
    with whole_folder(tmp_path / "export") as new:
        (new / "file").write_text("mine")
    assert files_of(tmp_path) == ["export/file"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_no_folder_is_not_replaced(run, tmp_path, quick_program, capsys, kind):
    if kind == "file":
        (run.folder / "export").write_text("mine")
    else:
        (tmp_path / "elsewhere").mkdir()
        (run.folder / "export").symlink_to(tmp_path / "elsewhere")
    before = sorted(run.folder.iterdir())
    exported(run, "--format", "paddle", code=2)
    said = "it is no folder: move it away: " if kind == "file" else ""
    assert f"export.py: error: {said}{run.folder / 'export'}" in capsys.readouterr().err
    assert sorted(run.folder.iterdir()) == before


def test_an_older_folder_that_a_killed_export_set_aside_comes_back(tmp_path):
    aside = tmp_path / ".old-export-x"
    aside.mkdir()
    (aside / "file").write_text("older")
    with pytest.raises(KeyboardInterrupt), whole_folder(tmp_path / "export"):
        raise KeyboardInterrupt
    assert [entry.name for entry in tmp_path.iterdir()] == ["export"]
    assert (tmp_path / "export" / "file").read_text() == "older"
