"""The page of a comparison in a headless Chromium, by keyboard: `make browser`. Screenshots go to work/browser.

    python tests/browser_comparison.py [FOLDER] [PAGE]

FOLDER: for the screenshots. PAGE: an index.html of compare.py --until decided; by default one of networks made by hand.
"""

import sys
import tempfile
from pathlib import Path

from chromium import Chromium, begin

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

NAMES = "[...document.querySelectorAll('#table tbody tr')].map(row => row.cells[0].textContent)"
FOCUS = "(one => one.id || one.name || one.textContent.trim() || one.className)(document.activeElement)"
SHOWN = "[...document.querySelectorAll('.chart')].filter(one => one.offsetHeight).map(one => one.dataset.cost)"


def hand_made_page(folder):
    """A page of three networks, decided after four seeds."""
    from hand_made_comparisons import comparison, look, pair, pictures_in, row_of
    from PIL import Image

    from comparison.bilingual import Bilingual
    from comparison.decision import FUTILE, OPEN, WORSE
    from comparison.page import write_page
    from comparison.until_decided import Decision

    rows = [
        row_of("resnet18", (0.70, 0.71, 0.73, 0.70)),
        row_of("sa_resnet", (0.80, 0.83, 0.84, 0.83), latency=55.0, parameters=23_500_000, rate=19.0),
        row_of("resnet", (0.78, 0.82, 0.80, 0.80), latency=52.0, parameters=23_500_000, rate=20.0),
    ]
    first = look(3, pair("resnet18", "sa_resnet", -0.11, 0.2, OPEN), pair("resnet18", "resnet", -0.09, 0.2, OPEN),
                 pair("sa_resnet", "resnet", 0.03, 0.2, OPEN))  # fmt: skip
    last = look(4, pair("resnet18", "sa_resnet", -0.12, 0.1, WORSE), pair("resnet18", "resnet", -0.1, 0.09, WORSE),
                pair("sa_resnet", "resnet", 0.02, 0.09, FUTILE, 2300), out=["resnet18"])  # fmt: skip
    decision = Decision([first, last], "nothing is left that a further seed could decide", 0.01)
    pictures_in(folder)
    compared, found = comparison(rows, decision, {("sa_resnet", "resnet18"), ("resnet", "resnet18")})
    write_page(folder, compared, found, [Bilingual("a note", "一条附注")], lambda name: Image.new("RGB", (90, 60), "olive"))
    return folder / "index.html"


def check(condition, what):
    """Say what holds; raise AssertionError where it does not."""
    if not condition:
        raise AssertionError(what)
    print(f"ok: {what}", flush=True)


def press_until(page, wanted):
    """Press Tab until the element with this id, name or text has the focus, which must be visible."""
    for _ in range(60):
        page.press("Tab")
        if page.evaluate(FOCUS) == wanted:
            outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            check(outline == "solid", f"Tab reaches {wanted}, and the focus is visible")
            return
    raise AssertionError(f"Tab does not reach {wanted}")


def try_keyboard(page, url):
    """Skip, switch the language, sort, choose a cost."""
    page.open(url)
    check(page.evaluate("document.documentElement.lang") == "en", "an English browser sees English")
    page.press("Tab")
    check(page.evaluate("document.activeElement.getBoundingClientRect().top") >= 0, "the first Tab shows the way past the head")
    press_until(page, "language")
    page.press("Enter", text="\r")
    check(page.evaluate("document.documentElement.lang") == "zh-CN", "Enter switches to Chinese")
    check(page.evaluate("document.title") == "网络比较", "the title too")
    page.call("Page.reload")
    page.wait_for("document.readyState === 'complete' && document.documentElement.lang === 'zh-CN'")
    check(True, "the language is remembered")
    press_until(page, "language")
    page.press(" ", text=" ")
    check(page.evaluate("document.documentElement.lang") == "en", "Space switches back")
    press_until(page, "loss")
    page.press("Enter", text="\r")
    sorted_by = "[...document.querySelectorAll('[aria-sort]')].map(one => one.textContent + ' ' + one.ariaSort).join()"
    check(page.evaluate(sorted_by) == "loss descending", "Enter sorts by a heading")
    page.press(" ", text=" ")
    check(page.evaluate(sorted_by) == "loss ascending", "Space turns the order")
    page.evaluate("document.querySelector('#table th button').focus()")
    page.press("Enter", text="\r")
    names = page.evaluate(NAMES)
    check(names == sorted(names, reverse=True), f"sorted by name: {names}")
    press_until(page, "cost")
    before = page.evaluate(SHOWN)
    page.press("ArrowRight")
    after = page.evaluate(SHOWN)
    check(len(before) == len(after) == 1 and before != after, f"an arrow shows the next cost: {before[0]}, {after[0]}")
    roles = page.accessible()
    check(("image", "Accuracy and its cost") in roles or ("img", "Accuracy and its cost") in roles, "the drawing has a name")
    check(any(role == "columnheader" and name == "accuracy" for role, name in roles), "headings for a screen reader")
    page.evaluate("localStorage.clear()")


def try_windows(page, url, shots):
    """Desktop and phone, light and dark, in both languages."""
    for language, scheme, width, name in (
        ("en-US", "light", 1200, "comparison"), ("zh-CN", "light", 1200, "comparison_chinese"),
        ("zh-CN", "light", 400, "comparison_phone"), ("en-US", "dark", 1200, "comparison_dark"),
    ):  # fmt: skip
        page.open(url, width=width, height=800, language=language, scheme=scheme, phone=width == 400)
        check(page.evaluate("document.documentElement.lang")[:2] == language[:2], f"the page is in the browser's {language}")
        check(page.evaluate("document.documentElement.scrollWidth") <= width, f"nothing is wider than {width} pixels")
        page.screenshot(shots / f"{name}.png")
    page.open(f"{url}#zh")
    check(page.evaluate("document.documentElement.lang") == "zh-CN", "#zh asks for Chinese")


def main():
    begun = begin(ROOT)
    if not begun:
        return 0
    program, shots = begun
    with tempfile.TemporaryDirectory(prefix="browser-") as place, Chromium(program) as page:
        file = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else hand_made_page(Path(place))
        try_keyboard(page, file.as_uri())
        try_windows(page, file.as_uri(), shots)
        check(page.faults == [], f"no fault in the console: {page.faults}")
        elsewhere = [one for one in page.requested if not one.startswith((file.as_uri(), "data:", "about:"))]
        check(elsewhere == [], f"nothing is loaded from elsewhere: {elsewhere}")
    print(f"screenshots: {shots}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
