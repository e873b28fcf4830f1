"""Makes .venv and installs the packages that suit this machine. A second run changes nothing.

    python3 install.py              the packages for training
    python3 install.py --dev        those for tests and lint as well
    python3 install.py --export     those for `export.py --format onnx` as well
    python3 install.py --dry_run    prints the commands without running them
    python3 install.py --venv .venv-2.6.2 --paddle gpu-2.6.2
                                    another folder and another build of Paddle

`make demo` and `make test` call it first. It chooses the build of Paddle by what nvidia-smi says of device 0 and the driver:

    no NVIDIA GPU, or none that Paddle can use      requirements-cpu.txt: paddlepaddle
    a GPU, and Paddle's own package index answers   paddlepaddle-gpu 3.x: the newest CUDA that card and driver both run
    a GPU, and that index does not answer           requirements.txt alone: paddlepaddle-gpu 2.6.2, the last one on the
                                                    ordinary index; CUDA 11.8 and cuDNN 8 must be on the system

docs/performance.md lists which card and driver get which build. Of several cards the one that CUDA calls device 0 counts: the
first of CUDA_VISIBLE_DEVICES, else the newest kind, or the first on the bus with CUDA_DEVICE_ORDER=PCI_BUS_ID. PADDLE_INDEX
names a mirror of Paddle's index: the address up to and without /cu126.

By hand:

    python3 -m venv .venv
    . .venv/bin/activate                              on Windows: .venv\\Scripts\\activate
    python -m pip install -r requirements-cpu.txt

and with a GPU, cu126 being one of INDEXES below:

    python -m pip install "paddlepaddle-gpu>=3,<4" -i https://www.paddlepaddle.org.cn/packages/stable/cu126/
    python -m pip install -r requirements.txt
"""

# Must run on Python 3.6: an old Python may start this file, which then looks for a newer one.

import argparse
import hashlib
import http.client
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, PIPE, STDOUT
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent

PYTHONS = ("3.12", "3.11", "3.10", "3.9")  # Paddle 2.6.2 and 3.x both have wheels for these
PADDLE_INDEX = "https://www.paddlepaddle.org.cn/packages/stable"
GPU_PADDLE_3 = "paddlepaddle-gpu>=3,<4"
PROBE_SECONDS = 5
NVIDIA_SMI_SECONDS = 15


class InstallError(Exception):
    """Why the installation cannot go on, and the remedy."""


class NoGpu(Exception):
    """Why there is no NVIDIA GPU to install for."""


class Card(NamedTuple):
    name: str  # "NVIDIA GeForce RTX 4090", or "NVIDIA GPU" where nvidia-smi cannot tell
    capability: tuple  # compute capability: (8, 9), or () where nvidia-smi cannot tell
    uuid: str  # "GPU-..."


class Gpu(NamedTuple):
    cuda: tuple  # the newest CUDA version that the driver supports: (12, 8)
    cards: list  # of Card, at least one, in CUDA's order: Paddle computes on the first

    @property
    def capability(self):
        """Of the card that Paddle computes on."""
        return self.cards[0].capability

    @property
    def text(self):
        card = self.cards[0]
        capability = f" (compute capability {dotted(card.capability)})" if card.capability else ""
        of = f", device 0 of {len(self.cards)}" if len(self.cards) > 1 else ""
        return f"{card.name}{capability}{of}, driver for CUDA {dotted(self.cuda)}"


class Index(NamedTuple):
    """One of Paddle's own package indexes, and the range of compute capabilities that its builds support."""

    name: str
    cuda: tuple
    oldest: tuple
    newest: tuple


INDEXES = (  # newest first; Paddle's builds contain no PTX, so a card outside the range cannot run them
    Index("cu130", (13, 0), (7, 5), (99, 0)),  # (99, 0): whatever card comes, the newest build is the one to try
    Index("cu129", (12, 9), (7, 5), (99, 0)),
    Index("cu126", (12, 6), (6, 1), (9, 0)),
    Index("cu118", (11, 8), (6, 0), (8, 9)),
)
PADDLE_2 = Index("the ordinary index", (11, 8), (6, 1), (8, 9))  # paddlepaddle-gpu 2.6.2
PADDLE_2_PIN = "paddlepaddle-gpu==2.6.2"
DRIVERS = {11: 450, 12: 525, 13: 580}  # NVIDIA's oldest driver for any CUDA of that major version: "CUDA Compatibility"
EXPORT, DEV = "requirements-export.txt", "requirements-dev.txt"
INCLUDED = {DEV: [EXPORT]}  # requirement files that one names with -r
BUILDS = ("cpu", "gpu-2.6.2")  # choices of --paddle, whatever nvidia-smi says


class Python(NamedTuple):
    version: str  # "3.11"
    site_packages: Path
    makes_venvs: bool


class Venv(NamedTuple):
    """The folder of a virtual environment."""

    folder: Path

    @property
    def python(self):
        return str(self.folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))

    @property
    def stamp(self):
        """The file with the digests of the installed requirements; it does not exist during an installation."""
        return self.folder / ".installed"

    def pip(self, action, *arguments):
        """The command that runs this environment's pip."""
        return [self.python, "-m", "pip", action, "-q", "--disable-pip-version-check", *arguments]

    def has_pip(self):
        """Whether pip runs; it does not if creating the environment was interrupted."""
        return subprocess.call([self.python, "-m", "pip", "--version"], stdout=DEVNULL, stderr=DEVNULL) == 0

    def examine(self):
        """Return its Python, or None where that does not exist or cannot be used.

        A system upgrade can put another Python behind bin/python: it runs, but its site-packages do not exist.
        """
        python = examine_python(self.python)
        return python if python and python.version in PYTHONS and python.site_packages.is_dir() else None


def dotted(version):
    """(12, 8) -> "12.8" """
    return ".".join(map(str, version))


# What the machine has


def ask_nvidia_smi(*arguments):
    """Return what ``nvidia-smi`` prints; raise NoGpu where it is missing, fails or hangs."""
    try:
        process = subprocess.Popen(["nvidia-smi", *arguments], stdout=PIPE, stderr=STDOUT, encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise NoGpu("No NVIDIA GPU (no nvidia-smi)") from None
    except OSError as error:
        raise NoGpu(f"nvidia-smi does not start: {error.strerror}") from None
    try:
        output, _ = process.communicate(timeout=NVIDIA_SMI_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # without waiting for its end: a process that hangs inside the driver may never end
        raise NoGpu(f"nvidia-smi does not answer within {NVIDIA_SMI_SECONDS} s") from None
    if process.returncode != 0:
        first_line = (output.strip().splitlines() or [f"exit code {process.returncode}"])[0]
        raise NoGpu(f"nvidia-smi fails: {first_line[:90]}")
    return output


def find_gpu():
    """Return the Gpu that nvidia-smi reports; raise NoGpu where there is none, or Paddle has no build for this machine."""
    header = ask_nvidia_smi()
    if platform.machine() not in ("x86_64", "AMD64"):
        raise NoGpu(f"NVIDIA GPU, but Paddle has no GPU build for {platform.machine()}")
    found = re.search(r"CUDA (?:UMD )?Version:\s*(\d+)\.(\d+)", header)  # drivers from 610 on write "CUDA UMD Version"
    if not found:
        raise NoGpu("nvidia-smi names no CUDA version (driver incomplete, or a container without it)")
    return Gpu((int(found[1]), int(found[2])), in_order_of_cuda(find_cards()))


def find_cards():
    """Return each Card, in the order of nvidia-smi, which is that of the bus."""
    try:
        rows = ask_nvidia_smi("--query-gpu=compute_cap,uuid,name", "--format=csv,noheader").splitlines()
    except NoGpu:  # an old driver, without this query
        rows = []
    found = [re.fullmatch(r"\s*(\d+)\.(\d+)\s*,\s*([^,]*?)\s*,\s*(.*?)\s*", row) for row in rows]
    return [Card(row[4], (int(row[1]), int(row[2])), row[3]) for row in found if row] or [Card("NVIDIA GPU", (), "")]


def in_order_of_cuda(cards):
    """Return ``cards`` in the order of CUDA's numbers: Paddle computes on the first.

    CUDA numbers the fastest card first unless CUDA_DEVICE_ORDER says PCI_BUS_ID. How fast one is nvidia-smi does not tell; the
    newest kind is a guess at it. CUDA_VISIBLE_DEVICES puts another first, by its number or the beginning of its UUID.
    """
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        cards = sorted(cards, key=lambda card: card.capability, reverse=True)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    first = visible.split(",")[0].strip()
    if first in ("", "-1") or first.startswith("MIG") or not cards[0].capability:  # MIG: a part of a card, which is not listed
        return cards
    of_uuid = [card for card in cards if first.startswith("GPU-") and card.uuid.startswith(first)]
    named = [card for number, card in enumerate(cards) if first == str(number)] or of_uuid
    if not named:
        numbers = f"0 to {len(cards) - 1}" if len(cards) > 1 else "0 alone"
        print(f"CUDA_VISIBLE_DEVICES = {visible!r} hides every card: this machine has {numbers}; name one, or unset it.")
        return cards
    return [named[0], *(card for card in cards if card is not named[0])]


def usable_indexes(gpu):
    """Return Paddle's indexes with builds that run on ``gpu``, best first.

    A driver runs builds for its own CUDA version and older ones. If the card is too new for all of these, or the driver
    too old, CUDA's minor version compatibility allows builds for a newer version with the same major number: cu126 on an
    H100 with a driver for 12.4, cu118 with a driver for 11.4.
    """
    fitting = [index for index in INDEXES if runs_on(index, gpu.cards[0])]
    older = [index for index in fitting if index.cuda <= gpu.cuda]
    return older or [index for index in reversed(fitting) if index.cuda[0] == gpu.cuda[0]]


def runs_on(index, card):
    """Whether the builds of ``index`` have code for ``card``, as far as it is known."""
    return not card.capability or index.oldest <= card.capability <= index.newest


def why_no_index(gpu):
    """Return why none of INDEXES has a build for ``gpu``, with the remedy where there is one."""
    fitting = [index for index in INDEXES if runs_on(index, gpu.cards[0])]
    if not fitting:
        oldest = min(index.oldest for index in INDEXES)
        return f"Paddle's builds have no code for it, only for compute capability {dotted(oldest)} and newer"
    index = fitting[-1]
    return (
        f"Paddle's oldest build for this card, of CUDA {dotted(index.cuda)}, needs driver {DRIVERS[index.cuda[0]]} or newer "
        "(install the newest that NVIDIA has for the card, then run this again)"
    )


def examine_machine(asked=None):
    """Return (gpu, usable indexes, one line about both); (None, [], line) means the CPU build.

    ``asked``: one of BUILDS; then the machine is not examined. (None, [PADDLE_2], line) means paddlepaddle-gpu 2.6.2.
    """
    if asked:
        return None, [PADDLE_2] if asked == "gpu-2.6.2" else [], f"Paddle as requested: {asked}"
    try:
        gpu = find_gpu()
    except NoGpu as reason:
        return None, [], f"{reason}: CPU build of Paddle"
    indexes = usable_indexes(gpu)
    if not indexes:
        return None, [], f"{gpu.text}: {why_no_index(gpu)}; CPU build of Paddle"
    left_out = [card.name for card in gpu.cards[1:] if not runs_on(indexes[0], card)]
    others = f"; that build does not run on {', '.join(left_out)}" if left_out else ""
    return gpu, indexes, f"{gpu.text}: GPU build of Paddle{others}"


# Paddle's own package index


def index_url(index):
    return f"{(os.environ.get('PADDLE_INDEX') or PADDLE_INDEX).rstrip('/')}/{index.name}/"


def first_answering(indexes):
    """Return (the first index that answers, ""), or (None, why none does)."""
    why = ""
    for index in indexes:
        url = index_url(index)
        request = urllib.request.Request(url + "paddlepaddle-gpu/", headers={"User-Agent": "install.py"})
        try:
            with urllib.request.urlopen(request, timeout=PROBE_SECONDS):
                return index, ""
        except urllib.error.HTTPError as error:  # the server has no such index: try the next
            why = f"{url} answers {error.code}"
        except (OSError, ValueError, http.client.HTTPException) as error:
            return None, f"{url} does not answer ({getattr(error, 'reason', error)})"
    return None, why


def announce_paddle_2(gpu, why, stamp):
    """Print why paddlepaddle-gpu 2.6.2 is chosen, and a warning where it cannot run on ``gpu``."""
    print(f"{why}: paddlepaddle-gpu 2.6.2 instead, which needs CUDA 11.8 and cuDNN 8 on the system.")
    if gpu.capability and not PADDLE_2.oldest <= gpu.capability <= PADDLE_2.newest:
        works = f"{dotted(PADDLE_2.oldest)} to {dotted(PADDLE_2.newest)}"
        print(f"WARNING: 2.6.2 cannot run on this GPU, only on compute capability {works}.")
    print(f"To try that index again, or a mirror of it (PADDLE_INDEX), delete {stamp} first.")


# Python and .venv


def examine_python(command):
    """Return the Python that ``command`` starts, or None where it does not run or is no Python 3.

    pyenv puts commands on PATH that do not run, and Debian packages venv and ensurepip separately.
    """
    code = (
        "import importlib.util as i, sys, sysconfig; print('%d.%d' % sys.version_info[:2]); "
        "print(sysconfig.get_path('purelib')); print(all(map(i.find_spec, ['venv', 'ensurepip'])))"
    )
    try:
        output = subprocess.check_output([command, "-c", code], stderr=DEVNULL, encoding="utf-8")
        version, site_packages, makes_venvs = output.splitlines()
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
    return Python(version, Path(site_packages), makes_venvs == "True")


def pythons_on_path(target):
    """Return this Python, then every python3.12 ... python3.9 and python3 on PATH, without those of ``target``."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    own = (ROOT / target.folder).resolve()
    path = os.pathsep.join(folder for folder in folders if own not in Path(folder).resolve().parents)
    names = [f"python{version}" for version in PYTHONS] + ["python3"]
    found = [] if Path(sys.prefix).resolve() == own else [sys.executable]
    found += filter(None, (shutil.which(name, path=path) for name in names))
    return list(dict.fromkeys(found))


def pythons_of_pyenv(name):
    """Return the Pythons called ``name``, such as python3.10, that pyenv has installed, on PATH or not."""
    root = Path(os.path.expanduser(os.environ.get("PYENV_ROOT") or "~/.pyenv"))  # which needs no home
    return [str(command) for command in sorted(root.glob(f"versions/3.*/bin/{name}"), reverse=True)]


def find_python(asked, target):
    """Return (command, version) of the Python for ``target``: ``asked``, or the first suitable one on PATH."""
    refused = []
    candidates = [asked, *(pythons_of_pyenv(asked) if re.fullmatch(r"python3\.\d+", asked) else ())] if asked else None
    for command in candidates or pythons_on_path(target):
        python = examine_python(command)
        if not python:
            refused.append(f"{command} does not run")
        elif python.version not in PYTHONS:
            refused.append(f"{command} is Python {python.version}")
        elif not python.makes_venvs:
            refused.append(f"{command} lacks venv or ensurepip; on Debian, Ubuntu: apt install python{python.version}-venv")
        else:
            return command, python.version
    raise InstallError("\n  ".join(["needs Python 3.9 to 3.12 with venv and pip. Found:", *refused]))


def surplus_paddle(venv, package, cudas):
    """Return the Paddle packages to uninstall before ``package`` is installed, as a build for one of ``cudas``.

    paddlepaddle and paddlepaddle-gpu use the same folder, so removing one breaks the other. And to pip, builds for
    different CUDA versions are the same package.
    """
    folders = venv.site_packages.glob("paddlepaddle*.dist-info")
    installed = sorted(folder.name.split("-")[0].replace("_", "-") for folder in folders)
    if installed != [package]:
        return installed
    version_file = venv.site_packages / "paddle" / "version" / "__init__.py"
    text = version_file.read_text(encoding="utf-8") if version_file.exists() else ""
    cuda = re.search(r"^cuda_version\s*=\s*'(.*)'", text, re.MULTILINE)
    if package == "paddlepaddle-gpu" and (not cuda or cuda[1] not in map(dotted, cudas)):
        return installed
    return []


# Putting it together


def digest(*parts):
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def paddle_commands(target, venv, gpu, indexes, requirements):
    """Return the pip commands that install Paddle and the rest into ``target``; asks which of ``indexes`` answers."""
    index, why, pins = None, "", []
    if indexes == [PADDLE_2]:
        pins = [PADDLE_2_PIN]
    elif gpu:
        index, why = first_answering(indexes)
        if not index:
            announce_paddle_2(gpu, why, target.stamp)
    package = "paddlepaddle-gpu" if indexes else "paddlepaddle"
    cudas = [index.cuda] if index else [usable.cuda for usable in [*indexes, PADDLE_2]]
    surplus = surplus_paddle(venv, package, cudas) if venv else []
    commands = [target.pip("uninstall", "-y", *surplus)] if surplus else []
    if index:
        # First from Paddle's index alone: with both indexes, pip could choose another build from the ordinary one. The
        # requirements then find paddlepaddle-gpu installed and take the rest from the ordinary index.
        commands.append(target.pip("install", "--index-url", index_url(index), GPU_PADDLE_3))
    return [*commands, target.pip("install", *pins, "-r", requirements)]


def run(command):
    """Print a command and run it; raise InstallError if it fails."""
    print("$", shown(command), flush=True)
    code = subprocess.call(command)
    if code != 0:
        raise InstallError(f"that command failed with exit code {code}. Run the same again to go on from here.")


def shown(command):
    return " ".join(map(shlex.quote, command))


def wanted_digests(version, indexes, requirements, extras):
    """Return the digests that the stamp must contain for .venv to be up to date.

    ``indexes``: all usable ones, not the one that answered, so that the digests are the same offline. ``extras``: the other
    requirement files.
    """
    wanted = [digest(version, *(index.name for index in indexes), Path(requirements).read_text(encoding="utf-8"))]
    for extra in extras:
        texts = [Path(name).read_text(encoding="utf-8") for name in [extra, *INCLUDED.get(extra, ())]]
        wanted.append(digest(wanted[0], *texts))
    return wanted


def install(target, extras=(), dry_run=False, python=None, paddle=None):
    """Install into ``target`` what the machine and the requirement files need; do nothing if it is up to date.

    ``extras``: the requirement files besides those for training.
    ``python``: the command that creates the environment; ``paddle``: one of BUILDS. By default, what suits the machine.
    """
    gpu, indexes, line = examine_machine(paddle)
    requirements = "requirements.txt" if indexes else "requirements-cpu.txt"

    venv = target.examine()
    if venv and python and find_python(python, target)[1] != venv.version:
        venv = None
    done = target.stamp.read_text(encoding="utf-8").split() if venv and target.stamp.exists() else []
    if venv and set(wanted_digests(venv.version, indexes, requirements, extras)) <= set(done):
        print(f"{line}. {target.folder} is up to date.")
        return

    print(f"{line}.")
    commands = []
    if venv and target.has_pip():
        version = venv.version
    else:
        venv, done = None, []
        python, version = find_python(python, target)
        commands.append([python, "-m", "venv", "--clear", str(target.folder)])
    wanted = wanted_digests(version, indexes, requirements, extras)
    if wanted[0] not in done:
        commands += paddle_commands(target, venv, gpu, indexes, requirements)
    commands += [target.pip("install", "-r", extra) for extra in extras]

    if dry_run:
        print("\n".join(map(shown, commands)))
        return
    print(f"Installing into {target.folder}. Paddle is a large download; this may take some minutes.")
    if target.stamp.exists():
        target.stamp.unlink()
    for command in commands:
        run(command)
    wanted += [found for found in wanted_digests(version, indexes, requirements, [EXPORT, DEV])[1:] if found in done]
    target.stamp.write_text("\n".join(wanted) + "\n", encoding="utf-8")
    print(f"{target.folder} is ready.")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dev", action="store_true", help="install requirements-dev.txt as well")
    parser.add_argument(
        "--export", action="store_true", help="install requirements-export.txt as well, for export.py --format onnx"
    )
    parser.add_argument("--dry_run", "--dry-run", action="store_true", help="print the commands without running them")
    parser.add_argument(
        "--python",
        metavar="COMMAND",
        help="create it with this Python; python3.10 also finds one of pyenv (default: the first suitable on PATH)",
    )
    parser.add_argument("--venv", metavar="FOLDER", default=".venv", help="the virtual environment (default: .venv)")
    parser.add_argument(
        "--paddle",
        choices=BUILDS,
        help="this build of Paddle: cpu, or gpu-2.6.2 from the ordinary index, which runs without a GPU too (default: the "
        "build that suits the machine)",
    )
    options = parser.parse_args(argv)
    os.chdir(str(ROOT))
    extras = [name for name, wanted in ((EXPORT, options.export), (DEV, options.dev)) if wanted]
    try:
        install(Venv(Path(options.venv)), extras, options.dry_run, options.python, options.paddle)
    except InstallError as error:
        sys.exit(f"install.py: {error}")
    except KeyboardInterrupt:
        sys.exit("install.py: interrupted. Run the same again to go on from here.")


if __name__ == "__main__":
    main()
