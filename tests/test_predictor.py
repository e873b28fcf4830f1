"""inference.predictor: on a CPU the program answers as the network does, or the network does."""

import concurrent.futures
import gc
import os
import shutil
import signal
import time

import numpy as np
import pytest
from conftest import printed

from machine import cache_folder
from config import Config
from inference import predictor as module
from inference import program_cache, program_predictor
from inference.predictor import EngineError, NetworkPredictor, open_predictor
from inference.program import program_file
from inference.program_predictor import ProgramPredictor
from inference.program_process import ProgramProcess
from machine.device import select_device
from ops import fused
from trained.trained_run import TrainedRun

pytestmark = pytest.mark.python_independent


@pytest.fixture(autouse=True)
def tiny_network(register_tiny_network):
    """The name resnet stands for a tiny network here."""


@pytest.fixture(autouse=True)
def on_a_cpu():
    select_device("cpu")


@pytest.fixture(scope="module")
def cache_place(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def cache(cache_place, monkeypatch):
    """The folder of programs, which the tests of this file share."""
    monkeypatch.setenv(cache_folder.VARIABLE, str(cache_place))
    return cache_place / program_cache.FOLDER


@pytest.fixture
def run(tiny_run_place):
    return TrainedRun.open(tiny_run_place / "runs" / "resnet" / "001")


def pixels(number, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, 3, 32, 32), np.uint8)


def settings(**changes):
    return Config(batch_size=4, threads=2, **changes)


def chosen(predictor):
    return predictor._chosen


def test_the_program_answers_as_the_network_at_any_batch_size(run, cache, capfd):
    predictor = open_predictor(run, settings(engine="inference"))
    for number in (3, 1, 9, 0, 4):
        images = pixels(number, seed=number)
        found = predictor.predict(images)
        assert found.shape == (number, 3)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, run.predict(images), rtol=0, atol=1e-6)
    assert isinstance(chosen(predictor), ProgramPredictor)
    assert printed(capfd) == ("", "")


def test_a_program_is_made_once(run, cache, monkeypatch):
    first = open_predictor(run, settings(engine="inference"))
    first.predict(pixels(2))
    folder = cache / program_cache.program_key(run)
    assert program_file(folder).is_file()
    assert folder.stat().st_mode & 0o777 == 0o700
    monkeypatch.setattr(program_cache, "save_program", lambda *arguments: pytest.fail("it was made again"))
    second = open_predictor(run, settings(engine="inference"))
    second.predict(pixels(2))
    np.testing.assert_array_equal(second.predict(pixels(5)), first.predict(pixels(5)))


def test_another_temperature_or_other_code_is_another_program(run, cache, monkeypatch):
    key = program_cache.program_key(run)
    monkeypatch.setattr(run, "temperature", 1.5)
    warmer = program_cache.program_key(run)
    assert warmer != key
    predictor = open_predictor(run, settings(engine="inference"))
    predictor.predict(pixels(2))
    np.testing.assert_allclose(predictor.predict(pixels(3, seed=5)), run.predict(pixels(3, seed=5)), rtol=0, atol=1e-6)
    monkeypatch.setattr(program_cache, "SOURCES", ("sa_resnet.py",))
    assert program_cache.program_key(run) not in (key, warmer)


def test_few_photographs_are_left_to_the_network_and_many_are_not(run, cache, monkeypatch):
    monkeypatch.setattr(module, "SLOWER", float("inf"))
    for seconds in ("SECONDS_TO_MAKE", "SECONDS_TO_LOAD"):  # on a busy machine the first batch may take as long as a program
        monkeypatch.setattr(module, seconds, 1e4)
    for photographs, makes in ((2, False), (10, False), (10**9, True), (None, True)):
        predictor = open_predictor(run, settings(), photographs)
        for _ in range(3):
            predictor.predict(pixels(2))
        assert isinstance(chosen(predictor), ProgramPredictor if makes else NetworkPredictor)


def test_dynamic_is_the_network(run):
    assert isinstance(open_predictor(run, settings(engine="dynamic")), NetworkPredictor)


def wrong(monkeypatch):
    answers = ProgramPredictor.predict
    monkeypatch.setattr(ProgramPredictor, "predict", lambda self, images: answers(self, images) + np.float32(1e-3))
    return "their probabilities differ by 0.001, more than 1e-05"


def without_numbers(monkeypatch):
    answers = ProgramPredictor.predict
    monkeypatch.setattr(ProgramPredictor, "predict", lambda self, images: answers(self, images) * np.float32("nan"))
    return "their probabilities differ by nan, more than 1e-05"


def unable(monkeypatch):
    def load(*arguments):
        raise RuntimeError(
            "In user code:\n\n    InvalidArgumentError: The input's layout is wrong.\n  [Hint: Expected a (at /p.h:1)"
        )

    monkeypatch.setattr(program_predictor, "_load", load)
    return "The input's layout is wrong."


def slow(monkeypatch):
    monkeypatch.setattr(module, "SLOWER", 0)
    return "it takes "


@pytest.mark.parametrize("fault", [wrong, without_numbers, unable, slow])
def test_a_program_that_cannot_be_used_is_replaced_by_the_network_with_one_line(run, cache, monkeypatch, capfd, fault):
    text = fault(monkeypatch)
    predictor = open_predictor(run, settings(), 10**9)
    for seed in range(3):
        images = pixels(3, seed)
        np.testing.assert_array_equal(predictor.predict(images), run.predict(images, 4))
    assert isinstance(chosen(predictor), NetworkPredictor)
    out, err = capfd.readouterr()
    assert err.startswith(f"the network itself runs in place of its program in Paddle Inference: {text}")
    assert err.count("\n") == 1
    assert not out


def test_inference_that_is_asked_for_and_cannot_run_is_an_error(run, cache, monkeypatch):
    text = wrong(monkeypatch)
    with pytest.raises(EngineError, match=f"engine = 'inference': {text}; --engine auto"):
        open_predictor(run, settings(engine="inference")).predict(pixels(2))


@pytest.mark.parametrize("damage", ["program", "weights"])
def test_a_damaged_program_is_made_again_the_next_time(run, cache, capfd, damage):
    open_predictor(run, settings(engine="inference")).predict(pixels(2))
    folder = cache / program_cache.program_key(run)
    file = program_file(folder) if damage == "program" else folder / "inference.pdiparams"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    predictor = open_predictor(run, settings())
    predictor.predict(pixels(2))
    assert isinstance(chosen(predictor), NetworkPredictor)
    assert capfd.readouterr().err.count("\n") == 1
    again = open_predictor(run, settings())
    again.predict(pixels(2))
    assert isinstance(chosen(again), ProgramPredictor)


def spoil_by_removal(folder):
    (folder / "inference.pdiparams").unlink()


def let_others_write(folder):
    for file in folder.iterdir():
        file.chmod(0o666)


def give_to_another_user(folder):
    try:
        os.chown(folder / "inference.pdiparams", 12345, -1)
    except PermissionError:
        pytest.skip("may not give files to others")


@pytest.mark.skipif(os.name != "posix", reason="no such rights here")
@pytest.mark.parametrize("spoil", [spoil_by_removal, let_others_write, give_to_another_user])
def test_a_program_that_lacks_a_part_or_that_others_can_have_written_is_made_again_at_once(run, cache, capfd, spoil):
    open_predictor(run, settings(engine="inference")).predict(pixels(2))
    folder = cache / program_cache.program_key(run)
    spoil(folder)
    assert program_cache.cached_program(run) is None
    before = os.umask(0)
    try:
        again = open_predictor(run, settings(engine="inference"))
        again.predict(pixels(2))
    finally:
        os.umask(before)
    assert isinstance(chosen(again), ProgramPredictor)
    assert program_cache.cached_program(run) == folder
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert printed(capfd) == ("", "")


@pytest.mark.skipif(os.name != "posix", reason="no such rights here")
def test_where_others_can_write_to_the_cache_folder_the_program_is_a_temporary_one(run, cache, tmp_path, monkeypatch, capfd):
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path / "open" / "cache"))
    predictor = open_predictor(run, settings(engine="inference"))
    predictor.predict(pixels(2))
    assert isinstance(chosen(predictor), ProgramPredictor)
    assert list((tmp_path / "open").iterdir()) == []
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith(
        f"the cache folder cannot be used (other users can write to {tmp_path / 'open'}); the network's program"
    )


def test_the_cache_is_bounded_and_what_a_killed_process_left_goes(run, cache):
    open_predictor(run, settings(engine="inference")).predict(pixels(2))
    used = cache / program_cache.program_key(run)
    for number in range(7):
        (cache / f"old{number}").mkdir(exist_ok=True)
        os.utime(cache / f"old{number}", (number, number))
    (cache / f"{program_cache.PREFIX}left").mkdir()
    open_predictor(run, settings(engine="inference")).predict(pixels(2))
    left = {path.name for path in cache.iterdir() if path.is_dir()}
    assert used.name in left
    assert "old0" not in left
    assert len(left) == program_cache.MAX_PROGRAMS
    assert not [name for name in left if name.startswith(program_cache.PREFIX)]


def test_without_a_cache_folder_the_program_is_a_temporary_one(run, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(cache_folder.VARIABLE, str(tmp_path / "file"))
    predictor = open_predictor(run, settings(engine="inference"))
    predictor.predict(pixels(2))
    assert isinstance(chosen(predictor), ProgramPredictor)


def test_the_fused_operators_are_not_built_for_a_program(run, cache, monkeypatch):
    shutil.rmtree(cache, ignore_errors=True)
    monkeypatch.setattr(fused, "_obstacle", lambda on_gpu: pytest.fail("they were built"))
    assert program_file(program_cache.program_of(run)).is_file()


def test_an_interruption_while_the_program_is_made_leaves_nothing_and_stderr_as_it_was(run, cache, monkeypatch, capfd):
    def interrupted(of, folder):
        (folder / "half").write_text("")
        os.write(2, b"a note of Paddle's")
        raise KeyboardInterrupt

    monkeypatch.setattr(program_cache, "save_program", interrupted)
    monkeypatch.setattr(run, "temperature", 3.0)
    with pytest.raises(KeyboardInterrupt):
        open_predictor(run, settings(engine="inference")).predict(pixels(2))
    assert not list(cache.glob(f"{program_cache.PREFIX}*"))
    assert not (cache / program_cache.program_key(run)).exists()
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"


def test_a_program_in_a_process_of_its_own_answers_the_same(run, cache):
    within = open_predictor(run, settings(engine="inference"))
    apart = open_predictor(run, settings(engine="inference"), apart=True)
    for number in (3, 9, 0):
        np.testing.assert_array_equal(apart.predict(pixels(number)), within.predict(pixels(number)))
    process = chosen(apart)._process
    assert process.poll() is None
    del apart
    gc.collect()
    assert process.poll() == 0, "the process outlives what it answers for"


def test_other_threads_go_on_while_a_process_computes(run, cache, tmp_path):
    program = ProgramProcess(program_cache.program_of(run), 32, 4, 1)
    os.kill(program._process.pid, signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        answer = pool.submit(program.predict, pixels(2))
        for _ in range(10):
            time.sleep(0.01)  # this thread goes on
            assert not answer.done()
        os.kill(program._process.pid, signal.SIGCONT)
        np.testing.assert_allclose(answer.result(60), run.predict(pixels(2)), rtol=0, atol=1e-6)


@pytest.mark.parametrize("photographs", [1, 3])
def test_where_its_process_is_killed_the_network_answers_with_a_line(run, cache, photographs, capsys):
    predictor = open_predictor(run, settings(), apart=True)
    predictor.predict(pixels(2))
    assert isinstance(chosen(predictor), ProgramProcess)
    process = chosen(predictor)._process
    process.kill()
    time.sleep(0.1)  # what is written then fits the pipe no more
    images = pixels(photographs)
    np.testing.assert_array_equal(predictor.predict(images), run.predict(images, 4))
    assert process.returncode == -signal.SIGKILL
    assert isinstance(chosen(predictor), NetworkPredictor)
    assert capsys.readouterr().err.endswith("Paddle Inference: its process ended with code -9\n")


def test_the_error_of_a_program_in_a_process_of_its_own_is_told(tmp_path):
    with pytest.raises(RuntimeError, match=r"inference\.(json|pdmodel)"):
        ProgramProcess(tmp_path, 32, 4, 1)
