"""Homes and caches that cannot be written, as in containers and on clusters: nothing but the run folder is needed."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from processes_started import heed_interruption

import install
from machine import cache_folder, home_folder, temporary_folder
from machine.cache_folder import cache_root
from machine.home_folder import can_be_written, provide_home
from training import board

pwd = pytest.importorskip("pwd")  # not on Windows
ROOT = Path(__file__).resolve().parent.parent
NOWHERE = "/dev/null/nowhere"  # which not even root can make
VARIABLES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TMPDIR", cache_folder.VARIABLE,
             temporary_folder.VARIABLE)  # fmt: skip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems name their folders in other ways")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home that can be written, and no variables that name other folders; afterwards no temporary folder is left."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(temporary_folder, "_made", None)  # this process may have one from an earlier test
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in VARIABLES:
        os.environ.pop(name, None)
    place = tmp_path / "home"
    place.mkdir()
    os.environ["HOME"] = str(place)
    yield place
    made = temporary_folder._made
    temporary_folder.remove_temporary_folder()
    assert made is None or not made.exists()


def test_a_home_that_can_be_written_stays_and_nothing_is_written_there(home, capsys):
    before = dict(os.environ)
    provide_home()
    assert dict(os.environ) == before
    assert capsys.readouterr() == ("", "")
    assert list(home.iterdir()) == []
    assert temporary_folder._made is None


def remove_home(home):
    home.rmdir()


def hide_a_folder(name):
    def hide(home):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("a file in the way")

    return hide


@pytest.mark.parametrize(
    "spoil", [remove_home, hide_a_folder(".visualdl"), hide_a_folder(".cache/paddle"), hide_a_folder(".visualdl/conf")]
)
def test_a_home_that_cannot_be_written_is_replaced_by_a_private_one_and_named_once(home, capsys, spoil):
    spoil(home)
    provide_home()
    other = Path(os.environ["HOME"])
    assert other != home
    assert stat.S_IMODE(other.stat().st_mode) == 0o700
    assert can_be_written(other / ".visualdl" / "conf")
    assert cache_root() == home / ".cache" / "sa-net-paddle", "what was built or unpacked there can still be read"
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith(f"note: {home} cannot be written: ")
    assert line.endswith("; set HOME to a folder of yours to keep it")
    provide_home()
    assert capsys.readouterr().err == ""
    assert os.environ["HOME"] == str(other)


def test_the_installation_looks_for_pythons_without_a_home(home, monkeypatch):
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])
    del os.environ["HOME"]
    os.environ.pop("PYENV_ROOT", None)
    assert install.pythons_of_pyenv("python3.10") == []


@pytest.mark.parametrize("home_variable", [None, ""])
def test_without_a_home_there_is_no_folder_named_tilde(home, monkeypatch, capsys, home_variable):
    def unknown(uid):
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(home)
    monkeypatch.setattr(home_folder, "can_be_written", lambda folder: not str(folder).startswith("/."))
    del os.environ["HOME"]
    if home_variable is not None:
        os.environ["HOME"] = home_variable
    assert cache_root() == Path("/.cache/sa-net-paddle")
    provide_home()
    assert os.path.isdir(os.environ["HOME"])
    assert list(home.iterdir()) == []
    assert capsys.readouterr().err.count("cannot be written") == 1


def test_what_paddle_downloaded_is_found_again(home):
    weights = home / ".cache" / "paddle" / "hapi" / "weights" / "resnet50.pdparams"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"weights")
    (home / ".visualdl").write_text("a file in the way")
    provide_home()
    found = Path(os.environ["HOME"], *weights.relative_to(home).parts)
    assert found.read_bytes() == b"weights"
    temporary_folder.remove_temporary_folder()
    assert weights.read_bytes() == b"weights"


@pytest.mark.parametrize("name", ["XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR"])
def test_other_folders_are_replaced_as_well_and_the_home_stays(home, capsys, name):
    os.environ[name] = NOWHERE
    provide_home()
    assert os.environ["HOME"] == str(home)
    assert can_be_written(os.environ["MPLCONFIGDIR"])
    assert f"note: {NOWHERE} cannot be written: " in (err := capsys.readouterr().err)
    assert f"; set {name} to a folder of yours to keep it\n" in err
    assert list(home.iterdir()) == []


def test_the_run_folder_is_enough(home, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: [NOWHERE])
    os.environ["HOME"] = NOWHERE
    with pytest.raises(OSError, match=f"neither {NOWHERE} nor a temporary folder can be written: set TMPDIR to"):
        provide_home()
    provide_home(last_resort=tmp_path / "runs")
    assert Path(os.environ["HOME"]).parent == tmp_path / "runs"
    with tempfile.NamedTemporaryFile() as file:
        assert Path(file.name).parent == Path(os.environ["TMPDIR"]) == Path(os.environ["HOME"])
    temporary_folder.remove_temporary_folder()
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_full_disk_counts_as_one_that_cannot_be_written(tmp_path, monkeypatch):
    assert can_be_written(tmp_path)
    assert can_be_written(tmp_path / "missing" / "folder")
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda dir: open("/dev/full", "wb"))  # noqa: SIM115
    assert not can_be_written(tmp_path)


def test_what_cannot_be_cached_is_shared_with_the_processes_that_a_script_starts(home):
    temporary_folder.share_what_cannot_be_cached()
    assert temporary_folder.VARIABLE not in os.environ, "the cache folder is good"
    home.chmod(0o777)
    temporary_folder.share_what_cannot_be_cached()
    assert os.environ[temporary_folder.VARIABLE] == str(temporary_folder.temporary_folder())


def test_a_process_that_was_forked_leaves_the_folder_to_its_parent(home):
    folder = temporary_folder.temporary_folder()
    child = os.fork()
    if not child:
        code = temporary_folder.temporary_folder() != folder
        temporary_folder.remove_temporary_folder()
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert folder.is_dir()


@pytest.mark.parametrize("end", ["pass", "signal.raise_signal(signal.SIGINT)", "os.kill(os.getpid(), signal.SIGTERM)", "1 / 0"])
def test_the_temporary_folder_goes_however_the_script_ends(end):
    program = (
        "from machine import ending\n"
        "import os, signal, sys\n"
        "from machine.home_folder import provide_home\n"
        "def work(config):\n"
        "    provide_home(); print(os.environ['HOME'], flush=True)\n"
        f"    {end}\n"
        "ending.leave(ending.run('train', work, None, uses_paddle=False))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, "HOME": NOWHERE}, capture_output=True, text=True,
        timeout=60, check=False, preexec_fn=heed_interruption,
    )  # fmt: skip
    made = done.stdout.strip()
    assert "sa-net-paddle-" in made
    assert not os.path.exists(made)
    assert done.returncode == {"pass": 0, "1 / 0": 1}.get(end, 130 if "SIGINT" in end else 143)


def run_script(script, environment, *arguments):
    """(exit code, lines on stderr) of a script."""
    done = subprocess.run(
        [sys.executable, "-B", ROOT / f"{script}.py", *map(str, arguments)], cwd=ROOT, env={**os.environ, **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr.splitlines()


def test_scripts_work_where_neither_home_nor_cache_nor_tmpdir_can_be_written(listed_folder, tmp_path):
    environment = {"HOME": NOWHERE, "XDG_CACHE_HOME": f"{NOWHERE}/cache", "TMPDIR": NOWHERE}
    places = set(Path("/tmp").glob("sa-net-paddle-*")) | set(Path("/tmp").glob("matplotlib-*"))
    runs = ("--runs_dir", tmp_path / "runs")
    training = ("--net", "resnet18", "--image_size", 32, "--epochs", 1, "--num_workers", 1, "--fused", "off")
    for script, arguments in (
        ("train", ("--data", listed_folder, *runs, *training)),
        ("show_photographs", ("--data", listed_folder, "--picture", tmp_path / "grid.png")),
    ):
        code, err = run_script(script, environment, *arguments)
        assert code == 0
        [line] = [line for line in err if line.startswith("note: ")]  # a GPU's Paddle 2.6 says more where there is none
        assert line.startswith(f"note: {NOWHERE} and {NOWHERE}/cache cannot be written: what Paddle, VisualDL, matplotlib and")
    assert list((tmp_path / "runs" / "resnet18" / "001" / "vdl").glob("vdlrecords.*"))
    assert set(Path("/tmp").glob("sa-net-paddle-*")) | set(Path("/tmp").glob("matplotlib-*")) <= places
    code, [line] = run_script("train_val_split", environment, "--data", packed(listed_folder, tmp_path))
    assert code == 2
    assert "cannot be unpacked: Not a directory: /dev/null" in line
    assert "set XDG_CACHE_HOME to a folder that can be written" in line


def packed(folder, place):
    return shutil.make_archive(str(place / "photographs"), "zip", folder)


def test_where_visualdl_cannot_be_imported_one_line_says_so_and_training_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "visualdl", None)  # whose import then fails
    spec = importlib.util.spec_from_file_location("board_without_visualdl", board.__file__)
    without = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(without)
    log = without.Board(tmp_path, [{"epoch": 1}])
    log.show({"epoch": 2})
    log.close()
    assert list(tmp_path.iterdir()) == []
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("note: the run has no log for VisualDL, which cannot be imported: ")
