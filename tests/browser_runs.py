"""serve.py in a headless Chromium, as a person uses its page: `make browser`. Screenshots go to work/browser.

    python tests/browser_runs.py [FOLDER] [RUN ...]

FOLDER: for the screenshots. RUN: trained runs to show, two of them; by default two small ones are trained on drawn animals.
"""

import contextlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from chromium import Chromium, begin
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
QUIET = ("--device", "cpu", "--fused", "off")
LAST = "document.querySelector('article')"


def script(name, *arguments):
    subprocess.run([sys.executable, ROOT / f"{name}.py", *map(str, arguments)], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)


def trained_runs(place, animals):
    """Two runs of a small network on the drawn animals."""
    script("train_val_split", "--data", animals)
    small = ("--net", "resnet18", "--image_size", 32, "--epochs", 1, "--batch_size", 8, "--num_workers", 0, *QUIET)
    for seed in range(2):
        script("train", "--data", animals, "--runs_dir", place / "runs", "--seed", seed, *small)
    return [place / "runs" / "resnet18" / number for number in ("001", "002")]


@contextlib.contextmanager
def served(*arguments):
    """The address of a server."""
    command = [sys.executable, ROOT / "serve.py", "--port", "0", *QUIET, *arguments]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            line = process.stdout.readline()
            yield re.search(r"http://\S+", line)[0]
        finally:
            process.terminate()


def check(condition, what):
    """Say what holds; raise AssertionError where it does not."""
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


def try_two_networks(page, url, photographs, shots):
    """Drop, choose and paste photographs; read classes, agreement and heat map; switch the language."""
    page.open(url)
    check(page.evaluate("document.documentElement.lang") == "en", "an English browser sees English")
    page.drop(photographs[:1], 500, 200)
    name = page.wait_for(f"{LAST}.querySelector('section li span')?.textContent")
    check((photographs[0].parents[1] / name).is_dir(), f"a dropped photograph has a class: {name}")
    check(page.evaluate(f"{LAST}.querySelectorAll('section').length") == 2, "the networks stand side by side")
    check(page.evaluate(f"{LAST}.querySelectorAll('section li').length") == 10, "each has its five most probable classes")
    said = page.evaluate(f"{LAST}.querySelector('.agreement').textContent")
    names = page.evaluate(f"[...{LAST}.querySelectorAll('section')].map(s => s.querySelector('li span').textContent)")
    check(said.startswith("The networks agree" if names[0] == names[1] else "The networks differ"), said)
    check(name in page.evaluate("document.querySelector('[role=status]').textContent"), "a screen reader is told the class")
    page.evaluate(f"{LAST}.querySelector('section button').click()")
    page.wait_for(f"{LAST}.querySelector('.heat')?.naturalWidth")
    check(
        page.evaluate(f"{LAST}.querySelector('section button').getAttribute('aria-expanded')") == "true",
        "a heat map lies over it",
    )
    page.evaluate(
        f"(s => {{ s.value = s.options[1].value; s.dispatchEvent(new Event('change')) }})({LAST}.querySelector('select'))"
    )
    page.wait_for(f"{LAST}.querySelector('figcaption').textContent.includes({LAST}.querySelector('select').value)")
    check(True, "the heat map of another class")
    page.choose("#files", photographs[1:3])
    page.wait_for("document.querySelectorAll('article').length === 3 && !document.querySelector('[aria-busy=true]')")
    check(True, "several chosen photographs")
    page.screenshot(shots / "desktop_light.png")
    page.evaluate("document.getElementById('language').click()")
    check(page.evaluate("document.documentElement.lang") == "zh-CN", "the switch changes the language")
    check("网络" in page.evaluate("document.body.innerText"), "the results are in Chinese as well")
    page.screenshot(shots / "chinese.png")
    page.evaluate("localStorage.clear(); document.getElementById('clear').click()")
    check(page.evaluate("document.querySelectorAll('article').length") == 0, "cleared")


def try_keyboard(page, url):
    """Reach and use everything by keyboard, and name everything for a screen reader."""
    page.open(url)
    page.press("Tab")
    check(page.evaluate("document.activeElement.id") == "language", "the first stop of Tab is the language")
    page.press("Tab")
    check(page.evaluate("document.activeElement.id") == "files", "the second chooses photographs")
    check(page.evaluate("getComputedStyle(document.getElementById('drop')).outlineStyle") == "solid", "the focus is visible")
    page.call("Page.setInterceptFileChooserDialog", enabled=True)
    page.press("Enter", text="\r")
    page.happened("Page.fileChooserOpened")
    check(True, "Enter opens the file dialog, on a phone the camera roll")
    page.call("Page.setInterceptFileChooserDialog", enabled=False)
    names = page.accessible()
    check(("button", "中文") in names and any(role == "status" for role, _ in names), "roles and names for a screen reader")
    check(any("Choose photographs" in name for role, name in names if role == "button"), "the chooser has a name")


def try_faults(page, url, folder):
    """What cannot be read or sent is said in the page."""
    page.open(url)
    damaged = folder / "damaged.jpg"
    damaged.write_bytes(b"no photograph")
    page.choose("#files", [damaged])
    said = page.wait_for(f"{LAST}?.querySelector('.problem')?.textContent")
    check(said == "Cannot be read: not an image, or in a format that is not read", said)
    large = folder / "large.png"
    large.write_bytes(bytes(34 * 2**20))
    page.choose("#files", [large])
    said = page.wait_for(f"document.querySelectorAll('article').length === 2 && {LAST}.querySelector('.problem')?.textContent")
    check(said == "The server refused: larger than 32 MB", said)
    faults = [fault for fault in page.faults if "422" not in fault]
    check(faults == [], f"no other fault in the console: {faults}")
    page.faults.clear()


def try_phone_and_dark(page, url, photographs, shots):
    """360 pixels, a Chinese browser, dark."""
    for language, scheme, width, name in (
        ("zh-CN", "light", 360, "phone_chinese"), ("en-US", "dark", 360, "phone_dark"), ("en-US", "dark", 1000, "desktop_dark"),
    ):  # fmt: skip
        page.open(url, width=width, height=800, language=language, scheme=scheme, phone=width == 360)
        check(page.evaluate("document.documentElement.lang")[:2] == language[:2], f"the page is in the browser's {language}")
        page.choose("#files", photographs[:1])
        page.wait_for(f"!!{LAST}?.querySelector('section li')")
        page.evaluate(f"{LAST}.querySelector('section button').click()")
        page.wait_for(f"{LAST}.querySelector('.heat')?.naturalWidth")
        check(page.evaluate("document.documentElement.scrollWidth") <= width, f"nothing is wider than {width} pixels")
        background = page.evaluate("getComputedStyle(document.body).backgroundColor")
        bright = sum(map(int, re.findall(r"\d+", background)[:3])) > 380
        check(bright == (scheme == "light"), f"{scheme}: {background}")
        page.screenshot(shots / f"{name}.png")


def try_pasting(page, url):
    """A photograph from the clipboard."""
    page.open(url)
    page.evaluate(
        "new Promise(done => { const canvas = document.createElement('canvas'); canvas.width = canvas.height = 64;"
        "canvas.toBlob(blob => { const data = new DataTransfer();"
        "data.items.add(new File([blob], 'pasted.png', {type: 'image/png'}));"
        "document.dispatchEvent(new ClipboardEvent('paste', {clipboardData: data})); done(); }); })"
    )
    page.wait_for(f"!!{LAST}?.querySelector('section li')")
    check(page.evaluate(f"{LAST}.querySelector('h2').textContent") == "pasted.png", "a pasted photograph")


def try_tiff(page, url, photograph, folder):
    """Browsers show no TIFF, so the page shows what the network sees of it."""
    page.open(url)
    with Image.open(photograph) as image:
        image.save(folder / "photograph.tif")
    page.choose("#files", [folder / "photograph.tif"])
    page.wait_for(f"{LAST}?.querySelector('section li') && {LAST}.querySelector('.photograph').naturalWidth > 0")
    check(
        page.evaluate(f"{LAST}.querySelector('.photograph').src.startsWith('data:')"), "a TIFF is shown as the network sees it"
    )


def main():
    begun = begin(ROOT)
    if not begun:
        return 0
    program, shots = begun
    with tempfile.TemporaryDirectory(prefix="browser-") as place:
        place = Path(place)
        script("sample_animals", "--data", place / "animals", "--per_class", 4)
        photographs = [
            place / "animals" / name for name in ("cat/cat_0001.jpg", "horse/horse_0002.jpg", "spider/spider_0001.jpg")
        ]
        runs = sys.argv[2:] or trained_runs(place, place / "animals")
        with served("--runs", *runs) as url, Chromium(program) as page:
            try_two_networks(page, url, photographs, shots)
            try_keyboard(page, url)
            try_pasting(page, url)
            try_tiff(page, url, photographs[0], place)
            try_phone_and_dark(page, url, photographs, shots)
            check(page.faults == [], f"no fault in the console: {page.faults}")
            try_faults(page, url, place)
            outside = [address for address in page.requested if not address.startswith((f"{url}/", "data:", "blob:", "about:"))]
            check(outside == [], f"nothing from elsewhere is loaded: {outside}")
    print(f"screenshots: {shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
