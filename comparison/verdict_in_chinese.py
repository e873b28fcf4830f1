"""The verdict in Chinese, a line for each pair of networks, from what the comparison found and not from the English text."""

import re
from collections.abc import Mapping
from typing import Any

from comparison.decision import BETTER, CLOSE, FUTILE, MOST_PHOTOGRAPHS, WORSE
from comparison.findings import Compared, Findings
from comparison.page_words import COSTS as CHINESE
from comparison.page_words import LISTS
from comparison.significance import LEAST_SEEDS
from comparison.until_decided import Decision
from comparison.verdict import most_accurate
from comparison.worth import COSTS, IN_VERDICT, costs_of

ENDS = (
    (r"(\d+) seeds are the most", "最多 {} 个种子"),
    (r"the budget of (\S+) min leaves no time for another seed", "{} 分钟的预算不够再训练一个种子"),
    (r"fewer than two networks could be trained", "能训练的网络不到两个"),
    (r"nothing is left that a further seed could decide", "再加种子也得不出更多结论"),
)
"""Of Decision.end: (pattern, the same in Chinese)."""


def verdict_in_chinese(compared: Compared, found: Findings) -> str:
    """What the verdict says, in lines."""
    rows = {row["network"]: row for row in found.rows}
    if compared.decision is not None:
        lines = _lines_of_decision(compared.decision, compared.failures, rows)
    elif found.differences:
        lines = _lines_of_differences(found.differences, compared.failures, rows)
    else:
        lines = ["只有一个网络，没有可比较的对象。"]
    if compared.failures:
        lines.append(f"{'、'.join(compared.failures)} 有训练失败。")
    if found.differences or (compared.decision and compared.decision.looks):
        lines.append(_basis(compared, found))
    if compared.tuned:
        lines.append("每个网络都用各自的学习率和权重衰减训练。")
    return "\n".join([*lines, _origin(compared)])


def _lines_of_decision(decision: Decision, failures, rows):
    pairs, better = decision.last_of_pairs(), decision.better()
    out = {name for look in decision.looks for name in look.out}
    networks = dict.fromkeys(name for _, pair in pairs for name in (pair.first, pair.second))
    left = [name for name in networks if name not in out]
    lines = [f"{left[0]} 是这些网络中最好的。"] if len(left) == 1 and not failures else []
    ranks = {BETTER: 0, WORSE: 0, CLOSE: 1}
    for seeds, pair in sorted(pairs, key=lambda found: ranks.get(found[1].status, 2)):
        first, second, difference = pair.first, pair.second, pair.difference
        if difference.mean < 0:
            first, second, difference = second, first, difference.turned()
        gone = [name for name in (first, second) if name in out or name in failures]
        if pair.status in (BETTER, WORSE):
            claim = f"{first} 优于 {second}"
        elif pair.status == CLOSE:
            claim = f"{first} 与 {second} 的差异小于 {100 * decision.worth:g} 个百分点，可视为相当"
        elif (first, second) in better or (second, first) in better:
            winner, loser = (first, second) if (first, second) in better else (second, first)
            claim = f"{winner} 优于 {loser}（由其他几对推出）"
        elif gone:
            claim = f"{first} 与 {second} 未分高下（{'、'.join(gone)} 不再训练）"
        elif pair.status == FUTILE:
            claim = f"{first} 与 {second} 未分高下，再加种子也几乎得不出结论（{_photographs(pair.photographs)}）"
        else:
            claim = f"{first} 与 {second} 未分高下"
        lines.append(f"{claim}：{difference.in_chinese()}，{seeds} 个种子{_price(rows, first, second)}。")
    return [*lines, f"结束的原因：{end_in_chinese(decision.end)}。"]


def _photographs(count):
    if count is None:
        return "各次训练的波动太大，照片再多也不够"
    return "需要一百多万张照片" if count >= MOST_PHOTOGRAPHS else f"大约需要 {int(float(f'{count:.1e}')):,} 张照片"


def end_in_chinese(end: str) -> str:
    """Why there was no further seed; a reason without a translation stays as it is."""
    for pattern, words in ENDS:
        if match := re.fullmatch(pattern, end):
            return words.format(*match.groups())
    return end


def _lines_of_differences(differences, failures, rows):
    best, highest = differences[0][0], most_accurate(differences)
    accurate = f"{best} 的准确率最高" if len(highest) == 1 else f"{'、'.join(highest)} 的准确率并列最高"
    beaten = [other for _, other, _, stands in differences if stands]
    few = [other for _, other, difference, _ in differences if not difference.seeds]
    if best in failures:
        lines = [f"{accurate}，但 {best} 有训练失败了：剩下的也许只是运气好的几次。"]
    elif len(few) == len(differences):
        lines = [
            f"就训练好的模型而言，{accurate}。训练次数太少，看不出网络之间有没有差别：换几个随机种子，准确率就会不同。"
            f"至少需要三个种子（--seeds {LEAST_SEEDS}）。"
        ]
    elif len(beaten) == len(differences):
        lines = [f"{best} 是这些网络中最好的。"]
    elif not beaten:
        lines = [f"未显出差别：{accurate}，但数据不足以说明{'它' if len(highest) == 1 else '其中哪个'}更好。"]
    else:
        lines = []
    for _, other, difference, stands in differences:
        if not difference.seeds:
            claim = f"{best} 与 {other}（只就训练好的模型而言）"
        elif best in failures:
            claim = f"{best} 与 {other} 相比（{best} 有训练失败，剩下的可能只是运气好的）"
        elif stands:
            claim = f"{best} 优于 {other}"
        else:
            claim = f"{best} 与 {other} 未显出差别"
        lines.append(f"{claim}：{difference.in_chinese()}{_price(rows, best, other)}。")
    return lines


def _price(rows: Mapping[str, Mapping[str, Any]], first, second):
    """What the first network costs more, or less, than the second; see comparison.worth.price."""
    found = []
    for key, change in costs_of(rows[first], rows[second]).items():
        if key in IN_VERDICT and change is not None:
            middle, *interval = change.parts(COSTS[key].digits, COSTS[key].unit)
            found.append(CHINESE[key].in_sentence.format(middle) + (f"（{' 至 '.join(interval)}）" if interval else ""))
    return f"；代价：{'，'.join(found)}" if found else ""


def _basis(compared, found):
    count, kind = len(found.answers.names), LISTS[compared.split]
    if found.answers.fold_count:
        photographs = f" {count} 张照片的 {found.answers.fold_count} 折折外预测"
    else:
        photographs = f" {count} 张{kind}照片"
    if compared.decision is not None:
        together = "每加一个种子看一次，所有区间同时成立的把握为 95%"
    else:
        together = "括号内为 95% 区间" if len(found.differences) == 1 else "括号内的区间同时成立的把握为 95%"
    return f"以上是在{photographs}上的准确率之差，{together}。"


def _origin(compared):
    if compared.split == "test":
        return "准确率取自每次训练的最佳轮次在测试列表上的结果，训练没有读过这份列表。"
    more = "；--split test 改在测试列表上比较，那里的照片没有参与选择" if compared.could_test else ""
    return f"准确率取自每次训练的最佳轮次，而最佳轮次正是用这些照片选出的，所以都略微偏高{more}。"
