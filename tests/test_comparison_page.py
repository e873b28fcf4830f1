"""The page of a comparison: both languages, the front for each cost, the decision seed by seed; names that mean harm."""

import hashlib
import inspect
import json
import re
from base64 import b64encode
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from hand_made_comparisons import comparison, look, pair, pictures_in, row_of
from PIL import Image

from comparison import front, page_words, until_decided, verdict, worth
from comparison.bilingual import Bilingual
from comparison.decision import BETTER, CLOSE, FUTILE, OPEN, WORSE
from comparison.front_chart import APART, PLOT, RADIUS, _set_apart
from comparison.label_places import Box, place_labels
from comparison.page import alone_of, write_page
from comparison.page_words import TEXTS, Words
from comparison.significance import Difference
from comparison.until_decided import Decision
from comparison.verdict_in_chinese import end_in_chinese, verdict_in_chinese
from plots.figures import COLOURS, MARKERS

pytestmark = pytest.mark.version_independent
KNOWN = ["training_time", "latency_ms", "peak_memory_mb", "weights_mb"]
"""The costs that are known of the networks made by hand."""
HOSTILE = """"><script>a(1)</script>'&{0}"""


class Tags(HTMLParser):
    """The elements of a page: [(tag, attributes, the text directly within), ...]."""

    VOID = ("meta", "link", "img", "input")

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.found, self._open = [], []
        self.feed(text)
        self.close()
        assert not self._open, f"not closed: {self._open}"

    def handle_starttag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])
        if tag not in self.VOID:
            self._open.append(self.found[-1])

    def handle_startendtag(self, tag, attributes):
        self.found.append([tag, dict(attributes), ""])

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> closes nothing"
        assert self._open.pop()[0] == tag

    def handle_data(self, data):
        if self._open:
            self._open[-1][2] += data

    def all(self, tag, **attributes):
        return [one for one in self.found if one[0] == tag and all(one[1].get(name) == v for name, v in attributes.items())]


def written(folder, rows, notes=(), **found):
    """The text of the page, and its elements."""
    pictures_in(folder)
    write_page(folder, *comparison(rows, **found), notes, lambda name: Image.new("RGB", (30, 20)))
    text = (folder / "index.html").read_text(encoding="utf-8")
    return text, Tags(text)


def texts_of(tags):
    (data,) = tags.all("script", id="texts")
    return json.loads(data[2])


def drawings(text, kind):
    """The drawings of a class, each parsed as XML."""
    found = map(ElementTree.fromstring, re.findall(r"<svg.*?</svg>", text, re.DOTALL))
    return [svg for svg in found if svg.get("class") == kind]


@pytest.fixture
def three():
    """Three networks; the second costs most, the third is the best."""
    return [
        row_of("small", (0.50, 0.52, 0.52)),
        row_of("large", (0.60, 0.61, 0.62), latency=60.0, parameters=40_000_000, rate=10.0),
        row_of("good", (0.80, 0.81, 0.82), latency=40.0, parameters=23_000_000, rate=20.0),
    ]


BETTER_PAIRS = {("large", "small"), ("good", "small"), ("good", "large")}


@pytest.fixture
def decision():
    first = look(
        3, pair("small", "large", -0.1, 0.08, WORSE), pair("small", "good", -0.3, 0.1, WORSE),
        pair("large", "good", -0.2, 0.3, OPEN), out=["small"],
    )  # fmt: skip
    return Decision([first, look(4, pair("large", "good", -0.2, 0.3, FUTILE, 610))], "4 seeds are the most", 0.01)


def test_every_text_is_there_in_both_languages(tmp_path, three, decision):
    notes = [Bilingual("Two of them.", "其中两张。")]
    _, tags = written(tmp_path, three, notes, decision=decision, better=BETTER_PAIRS)
    texts = texts_of(tags)
    assert texts["zh"][tags.all("li")[0][1]["data-text"]] == notes[0].chinese
    asked = {one[1][name] for one in tags.found for name in ("data-text", "data-label") if name in one[1]}
    assert asked == set(texts["en"]) == set(texts["zh"])
    assert len(asked) > 40
    assert all(texts["en"][key] and texts["zh"][key] for key in asked)
    for _, attributes, shown in tags.found:
        if "data-text" in attributes:
            values = json.loads(attributes.get("data-values", "[]"))
            expected = texts["en"][attributes["data-text"]]
            if values:
                expected = re.sub(r"\{(\d)\}", lambda place, values=values: str(values[int(place[1])]), expected)
            assert shown == expected, "without its script the page is in English"


def test_the_languages_have_the_same_places_for_values():
    for key, (english, chinese) in TEXTS.items():
        assert set(re.findall(r"\{\d\}", english)) == set(re.findall(r"\{\d\}", chinese)), key
        assert key in ("named", "difference") or re.search("[\u4e00-\u9fff]", chinese), key


def test_each_column_and_each_cost_has_chinese_words():
    assert list(page_words.COLUMNS) == [key for key, _ in verdict.COLUMNS]
    assert set(front.COSTS) <= set(page_words.COSTS)
    assert set(worth.COSTS) == set(page_words.COSTS)


def test_a_value_with_braces_is_no_place_for_another():
    assert Words().english("range", ["{1}", "b"]) == "{1} to b"


def test_names_cannot_become_part_of_the_page(tmp_path):
    rows = [row_of(HOSTILE), row_of("b", (0.5, 0.5, 0.5)), row_of("c", (), note=HOSTILE)]
    steps = Decision([look(3, pair(HOSTILE, "b", 0.2, 0.1, BETTER), out=["b"])], HOSTILE, 0.01)
    correct = {HOSTILE: np.ones((3, 1), bool), "b": np.zeros((3, 1), bool)}
    text, tags = written(
        tmp_path, rows, [Bilingual(HOSTILE, HOSTILE)], decision=steps, correct=correct, names=[HOSTILE], better={(HOSTILE, "b")}
    )
    assert "<script>a(1)" not in text
    assert [one[1] for one in tags.all("script")] == [{"type": "application/json", "id": "texts"}, {}]
    for where in ("li", "h3", "td", "figcaption", "title", "text", "th"):
        assert any(HOSTILE in one[2] for one in tags.all(where)), where
    assert tags.all("img", alt=HOSTILE)
    assert HOSTILE in texts_of(tags)["zh"]["summary"]


def test_the_policy_lets_the_page_run_its_own_script_alone(tmp_path, three):
    text, tags = written(tmp_path, three)
    (policy,) = [one[1]["content"] for one in tags.all("meta", **{"http-equiv": "Content-Security-Policy"})]
    assert policy.startswith("default-src 'none';")
    for tag, kind in (("script", "script-src"), ("style", "style-src")):
        content = re.search(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}';" in policy
    assert not any(name == "style" or name.startswith("on") for one in tags.found for name in one[1]), "the policy forbids them"
    assert all(one[1]["src"].startswith("data:image/") for one in tags.all("img"))


def test_the_front_has_a_dot_for_each_seed_and_the_colours_of_the_pictures(tmp_path, three):
    text, tags = written(tmp_path, three, better=BETTER_PAIRS)
    charts = drawings(text, "front")
    assert [one[1]["value"] for one in tags.all("input", name="cost")] == KNOWN
    assert len(charts) == len(KNOWN)
    for chart in charts:
        networks = chart.findall("g[@class='network']")
        assert [len(one.findall("circle[@class='seed']")) for one in networks] == [3, 3, 3]
        for index, one in enumerate(networks):
            colours = {one.get(name) for one in one for name in ("fill", "stroke")} - {None, "#ffffff"}
            assert colours == {COLOURS[index]}
        assert [one.text for one in chart.findall("text[@class='label']")] == ["small", "large", "good"]
        ys = [[float(dot.get("cy")) for dot in one.findall("circle[@class='seed']")] for one in networks]
        assert max(ys[2]) < min(ys[1]) < max(ys[1]) < min(ys[0]), "the more accurate the higher"
        bars = [one.find("line") for one in networks]
        assert all(float(bar.get("y1")) < min(own) and max(own) < float(bar.get("y2")) for bar, own in zip(bars, ys))
        xs = [float(bar.get("x1")) for bar in bars]
        assert xs[0] < xs[2] < xs[1] or chart is charts[KNOWN.index("peak_memory_mb")], "the cheaper the further left"
    hidden = ["hidden" in one[1] for one in tags.all("figure", **{"class": "chart"})]
    assert hidden == [False, True, True, True]


def states_in(chart):
    return {
        one.find("title").text.split(":")[0]: one.find("*[@class]").get("class").split()[1]
        for one in chart.findall("g[@class='network']")
    }


def test_the_marks_say_which_networks_are_on_the_front(tmp_path, three):
    text, _ = written(tmp_path, three, better=BETTER_PAIRS)
    chart = drawings(text, "front")[0]
    assert states_in(chart) == {"small": "certain", "large": "not", "good": "certain"}
    marks = [one.find("*[@class]") for one in chart.findall("g[@class='network']")]
    assert [mark.get("opacity") for mark in marks] == [None, "0.35", None]
    assert [mark.tag for mark in marks] == ["circle", "polygon", "polygon"], "not by colour alone"
    corners = chart.find("polyline").get("points").split()
    assert len(corners) == 4, "from small over and up to good and on: large is not on the front"
    text, _ = written(tmp_path, three, better={("good", "small")})
    chart = drawings(text, "front")[0]
    assert states_in(chart) == {"small": "certain", "large": "perhaps", "good": "certain"}
    assert chart.findall("g[@class='network']")[1].find("*[@class]").get("fill") == "#ffffff"
    assert "small, good" in [one[2] for one in Tags(text).all("b")]


def test_too_few_trainings_leave_all_perhaps(tmp_path):
    text, tags = written(tmp_path, [row_of("a", (0.5,)), row_of("b", (0.9, 0.8), latency=90.0)])
    assert all(set(states_in(chart).values()) == {"perhaps"} for chart in drawings(text, "front"))
    assert len(tags.all("p", **{"data-text": "few_seeds"})) == len(KNOWN)
    seeds = [len(one.findall("circle[@class='seed']")) for one in drawings(text, "front")[0].findall("g[@class='network']")]
    assert seeds == [0, 2], "the mark is the one seed"


def test_one_network(tmp_path):
    text, tags = written(tmp_path, [row_of("alone")])
    assert states_in(drawings(text, "front")[0]) == {"alone": "certain"}
    assert not tags.all("p", **{"data-text": "few_seeds"})
    assert not tags.all("ul", **{"class": "legend"})
    assert "只有一个网络" in texts_of(tags)["zh"]["summary"]


def test_a_failed_network_and_unknown_costs(tmp_path):
    unknown = {"parameters": None, "memory": None}
    rows = [row_of("a", **unknown), row_of("broken", (), note="out of memory")]
    rows += [row_of("b", latency=None, **unknown), row_of("c", **unknown)]
    text, tags = written(tmp_path, rows)
    assert [one[1]["value"] for one in tags.all("input", name="cost")] == KNOWN[:2]
    first, second = drawings(text, "front")
    assert list(states_in(first)) == ["a", "b", "c"]
    assert list(states_in(second)) == ["a", "c"]
    assert "Not drawn, because this cost is not known: b." in [one[2] for one in tags.all("p")]
    colours = [one.find("line").get("stroke") for one in second.findall("g[@class='network']")]
    assert colours == [COLOURS[0], COLOURS[2]], "as on the pictures, where the failed one is not drawn"
    cells = [one[2] for one in tags.all("td")]
    assert "out of memory" in cells
    assert "broken 有训练失败。" in texts_of(tags)["zh"]["summary"]


def test_costs_and_accuracies_without_any_spread(tmp_path):
    text, _ = written(tmp_path, [row_of("a", (1.0, 1.0, 1.0), memory=0.0), row_of("b", (1.0, 1.0, 1.0), memory=0.0)])
    for chart in drawings(text, "front"):
        dots = [(float(dot.get("cx")), float(dot.get("cy"))) for dot in chart.iter("circle") if dot.get("class") == "seed"]
        assert len(set(dots)) == 6, "equal seeds lie side by side"
        assert all(PLOT.left < x < PLOT.right and PLOT.top <= y <= PLOT.bottom for x, y in dots)


def test_twenty_networks_of_the_same_cost(tmp_path):
    text, _ = written(tmp_path, [row_of(f"network{number}", (0.5, 0.6, 0.7)) for number in range(20)])
    chart = drawings(text, "front")[0]
    xs = sorted(float(one.find("line").get("x1")) for one in chart.findall("g[@class='network']"))
    assert all(second - first > 10 for first, second in zip(xs, xs[1:]))
    assert PLOT.left < xs[0] < xs[-1] < PLOT.right
    looks = {(one.find("line").get("stroke"), one.find("*[@class]").tag) for one in chart.findall("g[@class='network']")}
    assert len(looks) > len(COLOURS), "shapes as well as colours"
    assert len(MARKERS) % len(COLOURS), "else the same shape would always have the same colour"


def test_marks_are_moved_no_further_than_they_must():
    assert _set_apart([100.0, 300.0]) == [100.0, 300.0]
    assert _set_apart([300.0, 100.0, 300.0]) == [300.0 - APART / 2, 100.0, 300.0 + APART / 2]
    assert min(_set_apart([PLOT.left] * 3)) == PLOT.left + RADIUS


def test_labels_keep_clear_of_each_other_and_of_the_marks():
    points = [(100.0 + 14 * number, 100.0) for number in range(6)]
    marks = [Box(x - 7, y - 7, x + 7, y + 7) for x, y in points]
    boxes = place_labels(points, [(60.0, 15.0)] * 6, marks, Box(0, 0, 400, 300))
    for place, box in enumerate(boxes):
        assert all(box.overlap(other) < 1 for other in [*marks, *boxes[:place]])
        assert box.overlap(Box(0, 0, 400, 300)) == pytest.approx(box.area)


def test_the_path_has_a_row_for_each_pair_at_each_look(tmp_path, three, decision):
    text, tags = written(tmp_path, three, decision=decision, better=BETTER_PAIRS)
    assert len(tags.all("tr", **{"class": "step"})) == 4 == len(drawings(text, "step")) - 1
    drawn = [one.find("line[@class='interval']") for one in drawings(text, "step")[1:]]
    zeros = [float(one.find("line[@class='zero']").get("x1")) for one in drawings(text, "step")[1:]]
    assert len(set(zeros)) == 1
    assert [line.get("stroke") for line in drawn[:2]] == [COLOURS[1], COLOURS[2]], "of the better network"
    assert float(drawn[0].get("x2")) < zeros[0], "the second is better: left of zero"
    assert float(drawn[2].get("x1")) < zeros[0] < float(drawn[2].get("x2"))
    states = [one[2] for one in tags.all("span") if one[1].get("data-text") in ("is_better", "out", "open", "futile", "close")]
    assert states == ["large is better", "small is out", "good is better", "small is out", "open",
                      "further seeds could hardly decide it"]  # fmt: skip
    assert "-10.0 (-18.0 to -2.0)" in [one[2] for one in tags.all("span")]
    assert len(tags.all("ol", **{"class": "path"})) == 1
    assert any(one[2].startswith("The end: 4 seeds") for one in tags.all("li"))


def test_without_a_decision_there_is_no_path(tmp_path, three):
    _, tags = written(tmp_path, three)
    assert not tags.all("h2", id="path")


def test_a_decision_without_a_look_says_why(tmp_path):
    _, tags = written(tmp_path, [row_of("a")], decision=Decision([], "fewer than two networks could be trained", 0.01))
    assert tags.all("h2", id="path")
    assert not tags.all("tr", **{"class": "step"})
    assert "能训练的网络不到两个" in texts_of(tags)["zh"]["summary"]


def test_the_verdict_in_chinese_says_what_is_decided(three, decision):
    lines = verdict_in_chinese(*comparison(three, decision=decision, better=BETTER_PAIRS)).split("\n")
    costs = "训练时间 +400%，评估每张图像 +40.0 毫秒，权重 +116.0 MB"
    assert lines[0] == f"large 优于 small：+10.0 个百分点（+2.0 至 +18.0），3 个种子；代价：{costs}。"
    three[1]["latency_ms_of_rounds"] = [60.0, 61.0, 62.0]
    again = verdict_in_chinese(*comparison(three, decision=decision, better=BETTER_PAIRS))
    assert "评估每张图像 +41.0 毫秒（+40.0 至 +42.0）" in again
    assert lines[1].startswith("good 优于 small：+30.0 个百分点")
    assert lines[2].startswith("good 与 large 未分高下，再加种子也几乎得不出结论（大约需要 610 张照片）：+20.0 个百分点")
    assert lines[3] == "结束的原因：最多 4 个种子。"
    assert lines[-1].endswith("训练没有读过这份列表。")
    close = Decision([look(3, pair("a", "b", 0.0, 0.005, CLOSE))], "nothing is left that a further seed could decide", 0.01)
    assert "a 与 b 的差异小于 1 个百分点，可视为相当：" in verdict_in_chinese(*comparison([row_of("a"), row_of("b")], close))


def test_the_verdict_in_chinese_says_what_follows_from_other_pairs():
    pairs = [pair("a", "b", 0.1, 0.05, BETTER), pair("b", "c", 0.1, 0.05, BETTER), pair("a", "c", 0.2, 0.3, OPEN)]
    found = verdict_in_chinese(
        *comparison([row_of(name) for name in "abc"], Decision([look(3, *pairs, out=["b", "c"])], "", 0.01))
    )
    assert found.startswith("a 是这些网络中最好的。")
    assert "a 优于 c（由其他几对推出）" in found


@pytest.mark.parametrize(
    ("shown", "seeds", "failed", "expected"),
    [
        ((True, True), True, [], "a 是这些网络中最好的。"),
        ((False, False), True, [], "未显出差别：a 的准确率最高，但数据不足以说明它更好。"),
        ((True, False), True, [], "a 优于 b：+10.0 个百分点"),
        ((False, False), False, [], "就训练好的模型而言，a 的准确率最高。训练次数太少"),
        ((True, True), True, ["a"], "a 的准确率最高，但 a 有训练失败了"),
    ],
)
def test_the_verdict_in_chinese_without_a_decision(shown, seeds, failed, expected):
    differences = [("a", other, Difference(0.1, 0.01, 0.2, 0.01, seeds), stands) for other, stands in zip("bc", shown)]
    rows, failures = [row_of(name) for name in "abc"], {name: ["why"] for name in failed}
    found = verdict_in_chinese(*comparison(rows, differences=differences, failures=failures, split="val"))
    assert found.startswith(expected)
    assert ("a 优于 c" in found) == (shown[1] and not failed)
    assert "--split test" in found
    assert ("有训练失败。" in found) == bool(failed)


@pytest.mark.parametrize(
    ("seeds", "expected"),
    [
        (True, "未显出差别：a、c 的准确率并列最高，但数据不足以说明其中哪个更好。"),
        (False, "就训练好的模型而言，a、c 的准确率并列最高。"),
    ],
)
def test_the_verdict_in_chinese_names_all_networks_of_the_highest_accuracy(seeds, expected):
    differences = [
        ("a", "b", Difference(0.1, -0.01, 0.2, 0.1, seeds), False),
        ("a", "c", Difference(1e-16, -0.1, 0.1, 1, seeds), False),
    ]
    found = verdict_in_chinese(*comparison([row_of(name) for name in "abc"], differences=differences, split="val"))
    assert found.startswith(expected)


def test_every_reason_for_the_end_is_said_in_chinese():
    source = inspect.getsource(until_decided.train_until_decided)
    ends = [re.sub(r"\{[^}]*\}", "7", end) for end in re.findall(r'\bend = f?"([^"]*)"', source)]
    assert len(ends) >= 4
    assert all(re.search("[\u4e00-\u9fff]", end_in_chinese(end)) for end in ends)


def test_the_table_says_how_it_is_sorted_and_marks_the_networks(tmp_path, three):
    text, tags = written(tmp_path, three)
    (sorted_by,) = [one for one in tags.all("th") if "aria-sort" in one[1]]
    assert sorted_by[1]["aria-sort"] == "descending"
    headings = [one[1]["data-text"] for one in tags.all("button", type="button") if "data-text" in one[1]]
    assert headings[:3] == ["column_network", "column_seeds", "column_accuracy"]
    named = re.findall(r'<th scope="row" data-value="(\w+)">(<svg.*?</svg>)', text)
    marks = {name: next(iter(ElementTree.fromstring(mark))).get("fill") for name, mark in named}
    assert marks == {"good": COLOURS[2], "large": COLOURS[1], "small": COLOURS[0]}


def test_gains_and_costs_against_the_baseline(tmp_path, three, decision):
    three[1]["latency_ms_of_rounds"] = [60.0, 61.0, 62.0]
    three[2]["energy_wh_of_seeds"] = [1.0]  # of the baseline it is not known
    text, tags = written(tmp_path, three, decision=decision, better=BETTER_PAIRS)
    headings = [one[1]["data-text"] for one in tags.all("th", scope="col") if one[1].get("data-text", "").startswith("gain_")]
    costs = ["training_time", "latency_ms", "weights_mb", "peak_memory_mb"]
    assert headings == ["gain_network", "gain_accuracy", *(f"gain_{key}" for key in costs)]
    table = re.search(r'<table class="gains">.*?</table>', text, re.DOTALL)[0]
    lines = [line.split("</tr>")[0] for line in table.split("<tr>")[2:]]
    rows = [[one[2] for one in Tags(line).found if one[0] in ("td", "span")] for line in lines]
    assert [[cell for cell in row if cell] for row in rows] == [
        ["+30.0 (+20.0 to +40.0)", "+150%", "+20.0", "+48.0", "+0"],
        ["+10.0 (+2.0 to +18.0)", "+400%", "+41.0 (+40.0 to +42.0)", "+116.0", "+0"],
    ]
    assert [one[2] for one in tags.all("h3", id="gains")] == ["Against small"]


def test_photographs_that_one_network_alone_was_right_or_wrong_on():
    right = {"a": [[1, 1, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0]], "b": [[0, 1, 1, 0]], "c": [[0, 0, 1, 0]]}
    found = alone_of({name: np.array(of_seeds, bool) for name, of_seeds in right.items()})
    assert {name: ([*map(int, own)], [*map(int, other)]) for name, (own, other) in found.items()} == {
        "a": ([0], [2]),
        "b": ([], []),
        "c": ([], [1]),
    }
