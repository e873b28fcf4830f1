"""The texts of a comparison's page, in English and in Chinese. ``{0}`` stands for a value."""

import re
from collections.abc import Sequence
from typing import NamedTuple

TEXTS = {
    "title": ("Comparison of networks", "网络比较"),
    "skip": ("Skip to the results", "跳到结果"),
    "verdict": ("Verdict", "结论"),
    "results": ("Results", "结果"),
    "sortable": ("A heading sorts the table.", "点击表头可以排序。"),
    "range": ("{0} to {1}", "{0} 至 {1}"),
    "gains": ("Against {0}", "与 {0} 相比"),
    "gain_network": ("network", "网络"),
    "gain_accuracy": ("accuracy in points", "准确率（百分点）"),
    "notes": ("Notes", "附注"),
    "front": ("Accuracy and its cost", "准确率与代价"),
    "cost": ("Cost", "代价"),
    "accuracy_axis": ("accuracy", "准确率"),
    "how_to_read": (
        "The higher the better, the further to the left the cheaper. Bars: the 95% interval of a network's accuracy, for the "
        "photographs alone. Small dots: each seed. Dashed line: the highest accuracy at no more cost. Networks that cost about "
        "the same are drawn side by side.",
        "越高越准，越靠左代价越小。竖线是该网络准确率的 95% 区间，只就照片数量计算；小圆点是各随机种子；虚线是代价不更高时的"
        "最高准确率。代价相近的网络并排画出。",
    ),
    "certain": ("on the front for certain", "确定在前沿上"),
    "perhaps": ("perhaps", "可能在前沿上"),
    "not": ("not: another one is better at no more cost", "不在：另有网络更好且代价不更高"),
    "named": ("{0}", "{0}"),
    "few_seeds": (
        "Too few trainings to say which networks are on the front: three seeds are the least.",
        "训练次数太少，无法判断哪些网络在前沿上：至少需要三个随机种子。",
    ),
    "unknown_cost": ("Not drawn, because this cost is not known: {0}.", "代价未知，未画出：{0}。"),
    "path": ("The path to the decision", "逐个种子的决策过程"),
    "how_to_read_path": (
        "Each bar is the interval of a difference in accuracy, in points: right of zero the first network is better, left of "
        "it the second. The grey band is ±{0} points, the least difference that matters. All intervals hold together, after "
        "every seed.",
        "每条横线是准确率差异的区间，单位为百分点：在零的右边，前一个网络更好；在左边，后一个更好。灰色区域是 ±{0} 个百分点，"
        "小于它的差异无关紧要。每加一个种子都看一次，所有区间同时成立。",
    ),
    "seeds": ("seeds", "种子数"),
    "interval": ("difference and interval", "差异及区间"),
    "points": ("in points", "百分点"),
    "state": ("state", "状态"),
    "difference": ("{0} ({1} to {2})", "{0}（{1} 至 {2}）"),
    "versus": ("against", "对"),
    "is_better": ("{0} is better", "{0} 更好"),
    "close": ("closer than {0} points", "差异小于 {0} 个百分点"),
    "open": ("open", "未定"),
    "futile": ("further seeds could hardly decide it", "再加种子也几乎得不出结论"),
    "out": ("{0} is out", "{0} 出局"),
    "in_words": ("In words", "英文记录"),
    "curves": ("Validation curves of the networks over the epochs", "各网络的验证曲线（按轮次）"),
    "tradeoff": ("Accuracy of the networks against the cost of training and evaluation", "各网络的准确率与训练、评估代价"),
    "pictures": ("Pictures", "图"),
    "differ": ("Where the networks differ", "网络之间的差别在哪里"),
    "majority_val": (
        "By the majority of a network's trainings, on the validation photographs; at most {0} of each kind are shown.",
        "按网络多数训练的结果，在验证列表的照片上；每种最多显示 {0} 张。",
    ),
    "majority_test": (
        "By the majority of a network's trainings, on the test photographs; at most {0} of each kind are shown.",
        "按网络多数训练的结果，在测试列表的照片上；每种最多显示 {0} 张。",
    ),
    "alone_right": ("alone right on {0} of {1}", "只有它答对：{1} 张中的 {0} 张"),
    "alone_wrong": ("alone wrong on {0} of {1}", "只有它答错：{1} 张中的 {0} 张"),
}
"""Key -> (English, Chinese)."""

LISTS = {"val": "验证", "test": "测试"}
"""Key of comparison.verdict.NAMES -> the list in Chinese."""

COLUMNS = {
    "network": "网络",
    "seeds": "种子数",
    "folds": "折数",
    "accuracy": "准确率",
    "accuracy_interval": "95% 区间",
    "accuracy_sd": "± 种子间",
    "accuracy_of_seeds": "各种子",
    "accuracy_of_folds": "各折",
    "balanced_accuracy": "平衡准确率",
    "balanced_accuracy_sd": "± 种子间",
    "top5": "top-5",
    "loss": "损失",
    "calibration_error": "校准误差",
    "parameters": "参数量 (M)",
    "multiply_adds": "乘加次数 (G)",
    "training_images_per_second": "训练图像/秒",
    "latency_ms": "评估毫秒/图像",
    "peak_memory_mb": "峰值内存 (MB)",
    "energy_wh": "一次训练的能耗 (Wh)",
    "seconds_to_best": "到最佳轮次的秒数",
    "note": "备注",
}
"""Key of comparison.verdict.COLUMNS -> heading in Chinese."""


class CostWords(NamedTuple):
    """What a cost is called in Chinese; the heading of its axis in both languages; in Chinese the heading of what one network
    costs more than another one, and the same in a sentence, with ``{}`` for how much."""

    name: str
    axis: tuple[str, str]
    more: str
    in_sentence: str


COSTS = {
    "training_time": CostWords("训练时间", ("training ms/image", "训练毫秒/图像"), "训练时间", "训练时间 {}"),
    "latency_ms": CostWords("评估时间", ("evaluation ms/image", "评估毫秒/图像"), "毫秒/图像", "评估每张图像 {} 毫秒"),
    "peak_memory_mb": CostWords("训练内存", ("memory in training (MB)", "训练内存 (MB)"), "训练内存 MB", "训练内存 {} MB"),
    "weights_mb": CostWords("大小", ("weights (MB)", "权重 (MB)"), "权重 MB", "权重 {} MB"),
    "energy_wh": CostWords("能耗", ("energy of a training (Wh)", "一次训练的能耗 (Wh)"), "一次训练 Wh", "一次训练的能耗 {} Wh"),
}
"""Key of comparison.worth.COSTS and comparison.front.COSTS -> its words."""


class Words:
    """The texts of one page. ``used``: {key: (English, Chinese)} of those that are on it, for its script."""

    def __init__(self) -> None:
        self.used: dict[str, tuple[str, str]] = {}

    def add(self, key: str, english: str, chinese: str) -> str:
        """A text that is of this comparison alone; returns ``key``."""
        self.used[key] = (english, chinese)
        return key

    def english(self, key: str, values: Sequence[object] = ()) -> str:
        """The text in English, which the page has where no script runs."""
        text = self.used.setdefault(key, self.used.get(key) or TEXTS[key])[0]
        return re.sub(r"\{(\d)\}", lambda found: str(values[int(found[1])]), text) if values else text

    def by_language(self) -> dict[str, dict[str, str]]:
        """{"en": {key: text}, "zh": {key: text}} of the texts that are used."""
        return {language: {key: both[place] for key, both in self.used.items()} for place, language in enumerate(("en", "zh"))}
