"""Runs the tests with other versions of Python and Paddle than .venv has, each in its own virtual environment.

    python3 .ci/test_matrix.py                 all variants
    python3 .ci/test_matrix.py 2.6.2 -k fuzz   some of them, here one; the other arguments go to pytest
    python3 .ci/test_matrix.py --remove        removes each virtual environment after its tests: all need 7 GB at once

Leaves out tests with a mark that says that a version does not change their outcome. Skips a Python that is not installed, with
a line that says so. All variants run, one after the other, since each keeps all cores busy; the exit code is 1 if one of them
failed, and the last lines say which.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = {  # name: (Python, build of Paddle, which tests)
    "3.10": ("python3.10", "cpu", "not version_independent and not python_independent"),
    "3.12": ("python3.12", "cpu", "not version_independent and not python_independent"),
    "2.6.2": ("python3.10", "gpu-2.6.2", "not version_independent"),
}


def main():
    arguments = sys.argv[1:]
    remove = "--remove" in arguments
    arguments = [argument for argument in arguments if argument != "--remove"]
    names = []
    while arguments and arguments[0] in VARIANTS:
        names.append(arguments.pop(0))
    os.chdir(str(ROOT))
    outcomes = {name: run(name, arguments, remove) for name in names or VARIANTS}
    print("\nmake test-matrix:")
    for name, (outcome, seconds) in outcomes.items():
        python, paddle, _ = VARIANTS[name]
        print(f"  {python}, Paddle {paddle}: {outcome} ({seconds:.0f} s)")
    sys.exit(any(outcome.startswith("FAILED") for outcome, _ in outcomes.values()))


def run(name, arguments, remove):
    """(outcome in words, seconds) of one variant; with ``remove`` its virtual environment goes then."""
    python, paddle, chosen = VARIANTS[name]
    started = time.time()
    if not is_installed(python):
        print(f"\n{python} is not installed: skipped", flush=True)
        return "skipped, not installed", 0
    folder = Path(".venv-" + name)
    print(f"\n{python}, Paddle {paddle}, in {folder}", flush=True)
    install = [sys.executable, "install.py", "--dev", "--venv", str(folder), "--python", python, "--paddle", paddle]
    tests = [str(folder / "bin" / "python"), "-m", "pytest", "-m", chosen, "-p", "no:cacheprovider"]
    try:
        for step, command in (("its installation", install), ("its tests", [*tests, *arguments])):
            code = subprocess.call(command)
            if code:
                return f"FAILED: {step} ended with exit code {code}", time.time() - started
        return "passed", time.time() - started
    finally:
        if remove:
            shutil.rmtree(str(folder), ignore_errors=True)


def is_installed(python):
    sys.path.insert(0, str(ROOT))
    import install

    try:
        install.find_python(python, install.Venv(Path(".venv")))
    except install.InstallError:
        return False
    return True


if __name__ == "__main__":
    main()
