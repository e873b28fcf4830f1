"""install.py and the Makefile: the choice of the Paddle build, the stamp, and what a failure leaves behind.

Nothing here reaches the network or installs a package. The set-up runs as users run it, in a folder of its own, with a
stub for nvidia-smi, an index on 127.0.0.1, and a .venv whose pip writes down what it is asked to do.
"""

import http.server
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import venv
from pathlib import Path

import pytest

import install

ROOT = Path(__file__).resolve().parent.parent
CLOSED_PORT = "http://127.0.0.1:9/stable"  # "discard": nothing listens there
CPU_INSTALL = "install -r requirements-cpu.txt"
GPU_INSTALL = "install -r requirements.txt"
DEV_INSTALL = "install -r requirements-dev.txt"
EXPORT_INSTALL = "install -r requirements-export.txt"
STUB_PIP = """
import pathlib, sys
if sys.argv[1:] != ["--version"]:
    words = [word for word in sys.argv[1:] if word not in ("-q", "--disable-pip-version-check")]
    with open("pip.log", "a") as log:
        print(*words, file=log)
    failing = pathlib.Path("pip_fails_on")
    sys.exit(3 if failing.exists() and failing.read_text() in words else 0)
"""

pytestmark = [pytest.mark.skipif(os.name == "nt", reason="the stubs are shell scripts"), pytest.mark.version_independent]


class Toolkit:
    """A checkout of the set-up files alone, on a machine that has what the test says."""

    def __init__(self, folder):
        self.folder = folder
        self.commands = folder / "commands"
        self.commands.mkdir()
        for name in (
            "install.py",
            "requirements.txt",
            "requirements-cpu.txt",
            "requirements-export.txt",
            "requirements-dev.txt",
            "Makefile",
        ):
            shutil.copy(ROOT / name, folder)

    def command(self, name, script):
        """Put a shell script on PATH, which holds nothing but these."""
        path = self.commands / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def nvidia_smi(self, cuda, capability, label="CUDA Version"):
        """``capability``: of each card, in the order of the bus: "6.1 9.0"; "": a driver that does not tell."""
        header = f"| NVIDIA-SMI 570.86.15    Driver Version: 570.86.15    {label}: {cuda} |"
        rows = [f"'{each}, GPU-{place}a5b4-11, NVIDIA Card {place}'" for place, each in enumerate(capability.split())]
        query = f"printf '%s\\n' {' '.join(rows)}" if rows else "echo 'not a valid field to query'; exit 2"
        self.command("nvidia-smi", f"if [ $# -eq 0 ]; then echo '{header}'; else {query}; fi")

    def make_venv(self):
        """A .venv like any other but for its pip; a real one would take seconds."""
        venv.EnvBuilder(symlinks=True).create(self.folder / ".venv")
        pip = self.site_packages / "pip"
        pip.mkdir()
        (pip / "__main__.py").write_text(STUB_PIP)

    @property
    def site_packages(self):
        return next(self.folder.glob(".venv/lib/python3.*/site-packages"))

    @property
    def stamp(self):
        return self.folder / ".venv" / ".installed"

    def add_paddle(self, package, cuda):
        """Leave the traces in .venv of an installed Paddle that was built for ``cuda``."""
        (self.site_packages / f"{package.replace('-', '_')}-3.3.1.dist-info").mkdir()
        version = self.site_packages / "paddle" / "version" / "__init__.py"
        version.parent.mkdir(parents=True, exist_ok=True)
        version.write_text(f"full_version     = '3.3.1'\ncuda_version     = '{cuda}'\n")

    def run(self, *arguments, index=CLOSED_PORT, python=sys.executable, **variables):
        environment = {"PATH": str(self.commands), "PADDLE_INDEX": index, **variables}
        return subprocess.run(
            [python, "install.py", *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )

    def plan(self, *arguments, folder=".venv", **options):
        """Return what --dry_run prints and, of that, the pip commands."""
        result = self.run("--dry_run", *arguments, **options)
        assert result.returncode == 0, result.stdout
        words = [shlex.split(line) for line in result.stdout.splitlines() if " -m pip " in line]
        assert all(line[:3] == [f"{folder}/bin/python", "-m", "pip"] for line in words)
        kept = [[word for word in line[3:] if word not in ("-q", "--disable-pip-version-check")] for line in words]
        return result.stdout, [" ".join(line) for line in kept]

    def pip_calls(self):
        """Return what pip was asked to do since the last time."""
        log = self.folder / "pip.log"
        calls = log.read_text().splitlines() if log.exists() else []
        log.unlink(missing_ok=True)
        return calls


@pytest.fixture
def toolkit(tmp_path):
    return Toolkit(tmp_path)


@pytest.fixture
def paddle_index():
    """An index server: ``.base`` is for PADDLE_INDEX, ``.names`` the indexes that are there, ``.asked`` what came."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            there = self.path in {f"/stable/{name}/paddlepaddle-gpu/" for name in server.names}
            self.send_response(200 if there else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.names = {"cu118", "cu126", "cu129", "cu130"}
    server.asked = []
    server.base = f"http://127.0.0.1:{server.server_port}/stable"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


# Which build


def test_without_gpu_takes_the_cpu_build_and_asks_no_index(toolkit, paddle_index):
    output, pip = toolkit.plan(index=paddle_index.base)
    assert pip == [CPU_INSTALL]
    assert paddle_index.asked == []
    assert output.startswith("No NVIDIA GPU (no nvidia-smi): CPU build of Paddle.\n")


@pytest.mark.parametrize(
    ("cuda", "capability", "name"),
    [
        # A100; then the driver's CUDA in the column: 11.4 to 12.5 run 11.8 by minor version compatibility or as it is older
        ("11.4", "8.0", "cu118"),
        ("12.4", "8.0", "cu118"),
        ("12.6", "8.0", "cu126"),
        ("12.9", "8.0", "cu129"),
        ("13.4", "8.0", "cu130"),
        # RTX 30
        ("11.4", "8.6", "cu118"),
        ("11.8", "8.6", "cu118"),
        ("12.8", "8.6", "cu126"),
        # RTX 40
        ("12.4", "8.9", "cu118"),
        ("12.9", "8.9", "cu129"),
        # H100: cu118 has no code for it, and CUDA 12.6 runs on every driver for CUDA 12
        ("12.0", "9.0", "cu126"),
        ("12.4", "9.0", "cu126"),
        ("13.0", "9.0", "cu130"),
        # B200 and RTX 50: cu126 has no code for them
        ("12.8", "10.0", "cu129"),
        ("13.0", "10.0", "cu130"),
        ("12.8", "12.0", "cu129"),
        ("13.3", "12.0", "cu130"),
        # Pascal, Volta: CUDA 13 has no code for them; Turing
        ("12.4", "6.0", "cu118"),
        ("13.0", "6.0", "cu118"),
        ("13.0", "6.1", "cu126"),
        ("13.0", "7.0", "cu126"),
        ("12.9", "7.5", "cu129"),
        ("13.0", "7.5", "cu130"),
        ("12.8", "", "cu126"),  # a driver that does not tell the card
    ],
)
def test_gpu_takes_the_index_that_driver_and_card_can_run(toolkit, paddle_index, cuda, capability, name):
    toolkit.nvidia_smi(cuda, capability)
    output, pip = toolkit.plan(index=paddle_index.base)
    assert pip == [f"install --index-url {paddle_index.base}/{name}/ paddlepaddle-gpu>=3,<4", GPU_INSTALL]
    assert f"driver for CUDA {cuda}: GPU build" in output
    assert "WARNING" not in output


def test_reads_the_header_of_the_newest_drivers(toolkit, paddle_index):
    toolkit.nvidia_smi("13.3", "9.0", label="CUDA UMD Version")
    assert f"{paddle_index.base}/cu130/" in toolkit.plan(index=paddle_index.base)[1][0]


def test_takes_the_next_index_where_the_best_is_not_there(toolkit, paddle_index):
    paddle_index.names = {"cu126"}
    toolkit.nvidia_smi("13.0", "8.6")
    assert f"{paddle_index.base}/cu126/" in toolkit.plan(index=paddle_index.base + "/")[1][0]


# Several cards: CUDA numbers the fastest first, nvidia-smi as they stand on the bus


@pytest.mark.parametrize(
    ("cuda", "capability", "variables", "name", "card"),
    [
        ("12.9", "6.1 12.0", {}, "cu129", 1),  # Paddle computes on the newer
        ("12.9", "12.0 6.1", {}, "cu129", 0),
        ("12.9", "6.1 12.0", {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "cu126", 0),
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": "1"}, "cu126", 0),  # the slower one in CUDA's order
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": "1,0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "cu129", 1),
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": "GPU-0a5b"}, "cu126", 0),
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": "GPU-1a5b4-11,GPU-0"}, "cu129", 1),
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": ""}, "cu129", 1),
        ("12.9", "6.1 12.0", {"CUDA_VISIBLE_DEVICES": "-1"}, "cu129", 1),
        ("12.9", "9.0", {"CUDA_VISIBLE_DEVICES": "MIG-3f2b/1/0"}, "cu129", 0),
    ],
)
def test_of_several_cards_the_one_counts_that_paddle_computes_on(
    toolkit, paddle_index, cuda, capability, variables, name, card
):
    toolkit.nvidia_smi(cuda, capability)
    output, pip = toolkit.plan(index=paddle_index.base, **variables)
    assert pip[0] == f"install --index-url {paddle_index.base}/{name}/ paddlepaddle-gpu>=3,<4"
    assert output.startswith(f"NVIDIA Card {card} (compute capability ")
    assert "CUDA_VISIBLE_DEVICES" not in output


def test_the_line_names_the_card_and_those_that_the_build_cannot_use(toolkit, paddle_index):
    toolkit.nvidia_smi("12.9", "6.1 12.0 8.9")
    assert toolkit.plan(index=paddle_index.base)[0].splitlines()[0] == (
        "NVIDIA Card 1 (compute capability 12.0), device 0 of 3, driver for CUDA 12.9: GPU build of Paddle; "
        "that build does not run on NVIDIA Card 0."
    )


@pytest.mark.parametrize(("cards", "numbers"), [("8.6", "0 alone"), ("8.6 8.6", "0 to 1")])
def test_a_name_of_no_card_is_said_and_the_first_counts(toolkit, paddle_index, cards, numbers):
    toolkit.nvidia_smi("12.9", cards)
    output, pip = toolkit.plan(index=paddle_index.base, CUDA_VISIBLE_DEVICES="7")
    assert f"{paddle_index.base}/cu129/" in pip[0]
    assert output.splitlines()[0] == (
        f"CUDA_VISIBLE_DEVICES = '7' hides every card: this machine has {numbers}; name one, or unset it."
    )


@pytest.mark.parametrize(
    ("cuda", "capability", "why"),
    [
        ("10.2", "7.5", "Paddle's oldest build for this card, of CUDA 11.8, needs driver 450 or newer (install the newest"),
        ("11.8", "9.0", "Paddle's oldest build for this card, of CUDA 12.6, needs driver 525 or newer (install the newest"),
        ("11.8", "12.0", "Paddle's oldest build for this card, of CUDA 12.9, needs driver 525 or newer (install the newest"),
        ("12.4", "5.2", "Paddle's builds have no code for it, only for compute capability 6.0 and newer; CPU build"),
    ],
)
def test_gpu_without_any_build_takes_the_cpu_build_and_says_what_helps(toolkit, paddle_index, cuda, capability, why):
    toolkit.nvidia_smi(cuda, capability)
    output, pip = toolkit.plan(index=paddle_index.base)
    assert pip == [CPU_INSTALL]
    line = output.splitlines()[0]
    assert line.startswith(f"NVIDIA Card 0 (compute capability {capability}), driver for CUDA {cuda}: {why}")
    assert line.endswith("; CPU build of Paddle.")


def test_the_table_in_the_documents_is_what_it_does():
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    table = text.split("| card | compute capability |")[1].split("\n\n")[0]
    drivers = [((11, 0), (11, 8)), ((12, 0), (12, 5)), ((12, 6), (12, 8)), ((12, 9),), ((13, 0), (13, 5))]
    rows = [[word.strip() for word in line.strip("| ").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == 10
    for name, capability, *builds in rows:
        card = install.Card(name, tuple(map(int, capability.split("."))), "GPU-0")
        for build, cudas in zip(builds, drivers):
            for cuda in cudas:
                found = install.usable_indexes(install.Gpu(cuda, [card]))
                assert (found[0].name if found else "CPU build") == build, (name, cuda)
    old = install.Gpu((11, 8), [install.Card("NVIDIA H100 PCIe", (9, 0), "GPU-0")])
    assert f"      {old.text}: {install.why_no_index(old)}; CPU build of Paddle.\n" in text


def test_without_index_takes_2_6_2_and_says_why(toolkit):
    toolkit.nvidia_smi("12.8", "8.6")
    output, pip = toolkit.plan()
    assert pip == [GPU_INSTALL]
    assert f"{CLOSED_PORT}/cu126/ does not answer" in output
    assert "paddlepaddle-gpu 2.6.2 instead" in output
    assert "WARNING" not in output


def test_index_with_none_of_the_builds_takes_2_6_2(toolkit, paddle_index):
    paddle_index.names = set()
    toolkit.nvidia_smi("12.8", "8.6")
    output, pip = toolkit.plan(index=paddle_index.base)
    assert pip == [GPU_INSTALL]
    assert len(paddle_index.asked) == 2
    assert "/cu118/ answers 404: paddlepaddle-gpu 2.6.2 instead" in output


def test_an_index_that_hangs_counts_as_not_answering(monkeypatch):
    monkeypatch.setattr(install, "PROBE_SECONDS", 0.2)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), None) as silent:  # takes connections, never reads them
        monkeypatch.setenv("no_proxy", "*")
        monkeypatch.setenv("PADDLE_INDEX", f"http://127.0.0.1:{silent.server_port}")
        start = time.monotonic()
        index, why = install.first_answering(install.INDEXES)
    assert time.monotonic() - start < 5
    assert index is None
    assert "/cu130/ does not answer" in why


@pytest.mark.parametrize("capability", ["9.0", "12.0", "6.0"])
def test_warns_where_2_6_2_cannot_run(toolkit, capability):
    toolkit.nvidia_smi("12.9", capability)
    output, pip = toolkit.plan()
    assert pip == [GPU_INSTALL]
    assert "WARNING: 2.6.2 cannot run on this GPU, only on compute capability 6.1 to 8.9." in output


def test_nvidia_smi_that_fails_means_cpu(toolkit):
    toolkit.command("nvidia-smi", "echo 'NVIDIA-SMI has failed: no driver'; echo more; exit 9")
    output, pip = toolkit.plan()
    assert pip == [CPU_INSTALL]
    assert output.startswith("nvidia-smi fails: NVIDIA-SMI has failed: no driver: CPU build of Paddle.\n")


def test_nvidia_smi_without_cuda_means_cpu(toolkit):
    toolkit.nvidia_smi("N/A", "8.6")
    output, pip = toolkit.plan()
    assert pip == [CPU_INSTALL]
    assert "names no CUDA version" in output


def test_nvidia_smi_that_hangs_means_cpu(toolkit, monkeypatch):
    toolkit.command("nvidia-smi", "exec /bin/sleep 30")
    monkeypatch.setenv("PATH", str(toolkit.commands))
    monkeypatch.setattr(install, "NVIDIA_SMI_SECONDS", 0.2)
    start = time.monotonic()
    gpu, indexes, line = install.examine_machine()
    assert time.monotonic() - start < 5
    assert (gpu, indexes) == (None, [])
    assert line == "nvidia-smi does not answer within 0.2 s: CPU build of Paddle"


def test_gpu_on_another_processor_means_cpu(toolkit, monkeypatch):
    toolkit.nvidia_smi("13.0", "9.0")
    monkeypatch.setenv("PATH", str(toolkit.commands))
    monkeypatch.setattr(install.platform, "machine", lambda: "aarch64")
    assert install.examine_machine() == (
        None,
        [],
        "NVIDIA GPU, but Paddle has no GPU build for aarch64: CPU build of Paddle",
    )


def test_both_requirement_files_differ_in_paddle_alone():
    gpu, cpu = (
        [line.split("#")[0].strip() for line in (ROOT / name).read_text().splitlines() if not line.startswith("#")]
        for name in ("requirements.txt", "requirements-cpu.txt")
    )
    assert gpu[0].replace("-gpu", "") == cpu[0]
    assert gpu[1:] == cpu[1:]


# Another build, another folder


def test_the_cpu_build_can_be_asked_for(toolkit, paddle_index):
    toolkit.nvidia_smi("12.8", "8.6")
    output, pip = toolkit.plan("--paddle", "cpu", index=paddle_index.base)
    assert pip == [CPU_INSTALL]
    assert paddle_index.asked == []
    assert output.startswith("Paddle as requested: cpu.\n")


@pytest.mark.parametrize("gpu", [False, True])
def test_2_6_2_can_be_asked_for_with_a_gpu_or_without(toolkit, paddle_index, gpu):
    if gpu:
        toolkit.nvidia_smi("12.8", "8.6")
    assert toolkit.plan("--paddle", "gpu-2.6.2", index=paddle_index.base)[1] == [
        "install paddlepaddle-gpu==2.6.2 -r requirements.txt"
    ]
    assert paddle_index.asked == []


def test_another_folder_has_its_own_stamp_and_leaves_venv_alone(toolkit):
    toolkit.make_venv()
    toolkit.run()
    toolkit.pip_calls()
    arguments = ["--venv", "other", "--paddle", "gpu-2.6.2"]
    output, pip = toolkit.plan(*arguments, folder="other")
    assert f"{sys.executable} -m venv --clear other\n" in output
    assert pip == ["install paddlepaddle-gpu==2.6.2 -r requirements.txt"]

    shutil.copytree(toolkit.folder / ".venv", toolkit.folder / "other", symlinks=True)
    (toolkit.folder / "other" / ".installed").unlink()
    assert "other is ready." in toolkit.run(*arguments).stdout
    assert "other is up to date." in toolkit.run(*arguments).stdout
    assert toolkit.pip_calls() == ["install paddlepaddle-gpu==2.6.2 -r requirements.txt"]
    assert ".venv is up to date." in toolkit.run().stdout
    assert toolkit.run("--venv", "other").stdout.startswith("No NVIDIA GPU"), "2.6.2 there is not what the machine asks for"
    assert toolkit.pip_calls() == [CPU_INSTALL]


def test_a_python_of_pyenv_is_found_by_name(toolkit, monkeypatch, tmp_path):
    toolkit.command("python3.10", "echo 'pyenv: python3.10: command not found' >&2; exit 127")
    there = tmp_path / "pyenv" / "versions" / "3.10.13" / "bin" / "python3.10"
    there.parent.mkdir(parents=True)
    shutil.copy(toolkit.command("stub", "echo 3.10; echo /somewhere; echo True"), there)
    monkeypatch.setenv("PATH", str(toolkit.commands))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    target = install.Venv(Path(".venv"))
    assert install.find_python("python3.10", target) == (str(there), "3.10")
    with pytest.raises(install.InstallError, match=r"python3\.9 does not run"):
        install.find_python("python3.9", target)


# The stamp


def test_second_run_calls_no_pip(toolkit):
    toolkit.make_venv()
    assert toolkit.run("--dev").returncode == 0
    assert toolkit.pip_calls() == [CPU_INSTALL, DEV_INSTALL]
    for arguments in (["--dev"], [], ["--dev"]):  # make test, make demo, make test
        result = toolkit.run(*arguments)
        assert result.returncode == 0
        assert ".venv is up to date." in result.stdout
        assert toolkit.pip_calls() == []


def test_second_run_with_a_gpu_asks_no_index(toolkit, paddle_index):
    toolkit.make_venv()
    toolkit.nvidia_smi("12.8", "8.6")
    toolkit.run(index=paddle_index.base)
    assert len(toolkit.pip_calls()) == 2
    paddle_index.asked.clear()
    assert ".venv is up to date." in toolkit.run(index=paddle_index.base).stdout
    assert toolkit.pip_calls() == []
    assert paddle_index.asked == []


def test_newer_driver_installs_again_where_it_can_run_a_newer_build(toolkit, paddle_index):
    toolkit.make_venv()
    toolkit.nvidia_smi("12.7", "8.6")
    toolkit.run(index=paddle_index.base)
    toolkit.pip_calls()
    for cuda, calls in (("12.8", 0), ("12.9", 2)):
        toolkit.nvidia_smi(cuda, "8.6")
        toolkit.run(index=paddle_index.base)
        assert len(toolkit.pip_calls()) == calls


def test_dev_after_demo_installs_only_what_dev_adds(toolkit):
    toolkit.make_venv()
    toolkit.run()
    assert toolkit.pip_calls() == [CPU_INSTALL]
    toolkit.run("--dev")
    assert toolkit.pip_calls() == [DEV_INSTALL]


def test_what_export_needs_is_installed_where_it_is_asked_for_and_remembered_beside_the_rest(toolkit):
    toolkit.make_venv()
    toolkit.run("--dev")
    toolkit.pip_calls()
    toolkit.run("--export")
    assert toolkit.pip_calls() == [EXPORT_INSTALL]
    for words in (["--export"], ["--dev"], ["--dev", "--export"]):
        toolkit.run(*words)
        assert toolkit.pip_calls() == []


def test_the_command_that_export_names_makes_a_folder_with_paddle_3_beside_the_gpu_build(toolkit, paddle_index):
    toolkit.nvidia_smi("12.8", "8.6")
    output, commands = toolkit.plan("--export", "--venv", ".venv-export", "--paddle", "cpu", folder=".venv-export")
    assert "-m venv --clear .venv-export" in output
    assert commands == [CPU_INSTALL, EXPORT_INSTALL]


@pytest.mark.parametrize(
    ("name", "calls"),
    [
        ("requirements-cpu.txt", [CPU_INSTALL, DEV_INSTALL]),
        ("requirements-dev.txt", [DEV_INSTALL]),
        ("requirements-export.txt", [DEV_INSTALL]),  # which includes it
    ],
)
def test_changed_requirements_install_again(toolkit, name, calls):
    toolkit.make_venv()
    toolkit.run("--dev")
    toolkit.pip_calls()
    with open(toolkit.folder / name, "a") as requirements:
        requirements.write("another\n")
    toolkit.run("--dev")
    assert toolkit.pip_calls() == calls


def test_failed_install_leaves_no_stamp(toolkit):
    toolkit.make_venv()
    toolkit.run()
    assert toolkit.stamp.exists()
    toolkit.pip_calls()
    (toolkit.folder / "pip_fails_on").write_text("requirements-dev.txt")
    result = toolkit.run("--dev")
    assert result.returncode == 1
    assert "failed with exit code 3" in result.stdout
    assert not toolkit.stamp.exists()
    assert toolkit.pip_calls() == [DEV_INSTALL]

    (toolkit.folder / "pip_fails_on").unlink()
    assert toolkit.run("--dev").returncode == 0
    assert toolkit.pip_calls() == [CPU_INSTALL, DEV_INSTALL]


def test_first_failing_command_is_the_last(toolkit):
    toolkit.make_venv()
    (toolkit.folder / "pip_fails_on").write_text("requirements-cpu.txt")
    assert toolkit.run("--dev").returncode == 1
    assert toolkit.pip_calls() == [CPU_INSTALL]


def test_dry_run_changes_nothing(toolkit):
    toolkit.make_venv()
    toolkit.plan()
    assert toolkit.pip_calls() == []
    assert not toolkit.stamp.exists()


# One Paddle at a time


def test_a_gpu_replaces_the_cpu_build(toolkit, paddle_index):
    toolkit.make_venv()
    toolkit.run()
    toolkit.add_paddle("paddlepaddle", "False")
    toolkit.pip_calls()
    toolkit.nvidia_smi("12.8", "8.6")
    toolkit.run(index=paddle_index.base)
    calls = toolkit.pip_calls()
    assert calls[0] == "uninstall -y paddlepaddle"
    assert calls[1].startswith(f"install --index-url {paddle_index.base}/cu126/")


def test_the_cpu_build_replaces_the_gpu_build(toolkit):
    toolkit.make_venv()
    toolkit.add_paddle("paddlepaddle-gpu", "12.6")
    assert toolkit.plan()[1] == ["uninstall -y paddlepaddle-gpu", CPU_INSTALL]


def test_two_builds_side_by_side_both_go(toolkit):
    toolkit.make_venv()
    toolkit.add_paddle("paddlepaddle", "False")
    toolkit.add_paddle("paddlepaddle-gpu", "12.6")
    assert toolkit.plan()[1] == ["uninstall -y paddlepaddle paddlepaddle-gpu", CPU_INSTALL]


@pytest.mark.parametrize(("installed", "goes"), [("12.6", True), ("12.9", False)])
def test_a_newer_driver_replaces_a_build_for_older_cuda(toolkit, paddle_index, installed, goes):
    toolkit.make_venv()
    toolkit.add_paddle("paddlepaddle-gpu", installed)
    toolkit.nvidia_smi("12.9", "8.6")
    assert ("uninstall -y paddlepaddle-gpu" in toolkit.plan(index=paddle_index.base)[1]) == goes


@pytest.mark.parametrize(("installed", "goes"), [("12.6", False), ("11.8", False), ("13.0", True)])
def test_without_index_a_build_stays_that_the_driver_can_run(toolkit, installed, goes):
    toolkit.make_venv()
    toolkit.add_paddle("paddlepaddle-gpu", installed)
    toolkit.nvidia_smi("12.8", "8.6")
    assert ("uninstall -y paddlepaddle-gpu" in toolkit.plan()[1]) == goes


# Python and .venv


def test_venv_that_does_not_run_is_made_again(toolkit):
    toolkit.make_venv()
    toolkit.run()
    toolkit.pip_calls()
    (toolkit.folder / ".venv/bin/python").unlink()
    assert f"{sys.executable} -m venv --clear .venv\n" in toolkit.run("--dry_run").stdout


def test_venv_without_pip_is_made_again(toolkit):
    toolkit.make_venv()
    shutil.rmtree(toolkit.site_packages / "pip")
    assert f"{sys.executable} -m venv --clear .venv\n" in toolkit.run("--dry_run").stdout


def test_venv_whose_python_was_replaced_is_made_again(toolkit):
    toolkit.make_venv()
    toolkit.run()
    toolkit.site_packages.rename(toolkit.folder / "of_another_python")
    assert f"{sys.executable} -m venv --clear .venv\n" in toolkit.run("--dry_run").stdout


def test_other_python_makes_venv_again_and_only_where_asked_for(toolkit):
    toolkit.make_venv()
    toolkit.run()
    other = "3.9" if sys.version_info[:2] != (3, 9) else "3.10"
    python = toolkit.command(f"python{other}", f"echo {other}; echo /somewhere; echo True")
    assert f"{python.name} -m venv --clear .venv\n" in toolkit.run("--dry_run", "--python", python.name).stdout
    assert ".venv is up to date." in toolkit.run("--dry_run").stdout


def test_search_passes_over_pythons_that_will_not_do(toolkit, monkeypatch):
    toolkit.command("python3.12", "echo 'pyenv: python3.12: command not found' >&2; exit 127")
    toolkit.command("python3.11", "echo 3.11; echo /somewhere; echo False")  # has no venv
    good = toolkit.command("python3.10", "echo 3.10; echo /somewhere; echo True")
    toolkit.command("python3", "echo 3.13; echo /somewhere; echo True")
    monkeypatch.setenv("PATH", str(toolkit.commands))
    monkeypatch.setattr(install.sys, "executable", str(toolkit.commands / "python3"))
    monkeypatch.setattr(install.sys, "prefix", str(toolkit.folder))
    assert install.find_python(None, install.Venv(Path(".venv"))) == (str(good), "3.10")

    good.unlink()
    with pytest.raises(install.InstallError) as error:
        install.find_python(None, install.Venv(Path(".venv")))
    lines = str(error.value).splitlines()
    assert lines[0] == "needs Python 3.9 to 3.12 with venv and pip. Found:"
    assert lines[1].endswith("python3 is Python 3.13")
    assert lines[2].endswith("python3.12 does not run")
    assert lines[3].endswith("python3.11 lacks venv or ensurepip; on Debian, Ubuntu: apt install python3.11-venv")


def test_search_does_not_make_venv_with_its_own_python(toolkit, monkeypatch):
    toolkit.make_venv()
    monkeypatch.setattr(install, "ROOT", toolkit.folder)
    monkeypatch.setattr(install.sys, "prefix", str(toolkit.folder / ".venv"))
    monkeypatch.setenv("PATH", str(toolkit.folder / ".venv/bin"))
    assert install.pythons_on_path(install.Venv(Path(".venv"))) == []


# The Makefile

needs_make = pytest.mark.skipif(not shutil.which("make"), reason="no make on this machine")


def run_make(toolkit, *arguments):
    """Run make where install.py and .venv's Python are stubs that write down how they are called."""
    (toolkit.folder / "install.py").write_text("import sys; print('install.py', *sys.argv[1:])\n")
    python = toolkit.folder / ".venv/bin/python"
    python.parent.mkdir(parents=True, exist_ok=True)
    python.write_text('#!/bin/sh\necho "python $*" >> steps.log\ncase "$*" in *"$FAILING"*) exit 5;; esac\n')
    python.chmod(0o755)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}  # `make test` runs this
    environment = {"FAILING": "none of them", **inherited}
    return subprocess.run(["make", *arguments], cwd=toolkit.folder, env=environment, capture_output=True, text=True)


@needs_make
def test_make_alone_lists_the_targets(toolkit):
    result = run_make(toolkit)
    assert result.returncode == 0
    listed = [line.split()[1] for line in result.stdout.splitlines()]
    assert listed == [
        "demo", "test", "test-matrix", "clients", "fuzz", "hostile", "hostile-serve", "browser", "torture", "notebook", "lint",
        "format", "docs", "bench", "cluster", "learn", "gpu-check", "gpu-sanitize", "setup", "clean",
    ]  # fmt: skip


@needs_make
def test_demo_stops_at_the_first_step_that_fails(toolkit, monkeypatch):
    monkeypatch.setenv("FAILING", "train.py --net resnet")
    result = run_make(toolkit, "demo")
    assert result.returncode != 0
    assert "Error 5" in result.stderr
    steps = (toolkit.folder / "steps.log").read_text().splitlines()
    assert [step.split()[1] for step in steps] == ["sample_animals.py", "train_val_split.py", "train.py", "train.py"]


@needs_make
def test_demo_starts_afresh_and_fails_without_its_pictures(toolkit):
    leftover = toolkit.folder / "work/demo/runs/sa_resnet/001/curves.png"
    users = toolkit.folder / "work/dataset/list.txt"
    for file in (leftover, users):
        file.parent.mkdir(parents=True)
        file.touch()
    result = run_make(toolkit, "demo")
    assert result.returncode != 0
    assert "curves.png" in result.stderr
    assert not leftover.exists()
    assert users.exists()


@needs_make
def test_make_hands_on_the_python_that_is_asked_for(toolkit):
    assert run_make(toolkit, "setup").stdout == "install.py\n"
    asked = run_make(toolkit, f"PYTHON={sys.executable}", "setup-dev")
    assert asked.stdout == f"install.py --python {sys.executable} --dev\n"
