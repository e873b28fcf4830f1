"""Write docs/settings.md and docs/settings.zh.md, the tables of all settings, from config.py: what `make docs` does.

python docs/write_settings.py
"""

import sys
from dataclasses import Field
from pathlib import Path
from typing import NamedTuple

DOCS = Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from config import settings  # noqa: E402
from settings import chinese  # noqa: E402
from settings.declaration import flag_of, type_of  # noqa: E402


class Language(NamedTuple):
    """What the tables say in one language, besides the settings' own texts."""

    title: str
    introduction: str
    columns: tuple
    kinds: dict  # {type: its name}
    several: str  # of values, with {}
    exactly: str  # so many values, with {} {}
    switch: tuple  # (off, on)
    comma: str  # between names
    also: str  # between bounds
    none: str  # no default


ENGLISH = Language(
    title="Settings",
    introduction="""Chinese: [settings.zh.md](settings.zh.md). `make docs` writes this file from config.py.

A setting's value comes from its default, then from the recipe (`--config FILE.yaml`), then from the command line; the later
one wins. On the command line a setting is written `--name value`, a switch `--name` or `--no-name`; in a recipe a setting is
`name: value`, and a switch is `true` or `false`. A script's `--help` lists the settings that it reads; a recipe may hold those
of any script.""",
    columns=("setting", "default", "allowed", "scripts", "meaning"),
    kinds={int: "whole number", float: "number", str: "text"},
    several="one or more: {}",
    exactly="{} values: {}",
    switch=("off", "on"),
    comma=", ",
    also=", ",
    none="none",
)
CHINESE = Language(
    title="设置",
    introduction="""英文：[settings.md](settings.md)。本文件由 `make docs` 根据 config.py 生成。

设置的值依次来自默认值、配方（`--config FILE.yaml`）和命令行，后者覆盖前者。
命令行上写作 `--name value`，开关写作 `--name` 或 `--no-name`；配方中写作 `name: value`，开关写作 `true` 或 `false`。
每个脚本的 `--help` 列出它读取的设置；一份配方可以包含任何脚本的设置。""",
    columns=("设置", "默认值", "允许的值", "脚本", "含义"),
    kinds={int: "整数", float: "数值", str: "文本"},
    several="一个或多个：{}",
    exactly="{} 个：{}",
    switch=("关", "开"),
    comma="、",
    also="，",
    none="无",
)


def documents() -> dict[str, str]:
    """{file name: text} of both documents."""
    items = settings()
    english = (
        {item.name: item.metadata["help"] for item in items},
        {item.name: item.metadata["default_text"] for item in items},
        {item.metadata["group"]: item.metadata["group"].capitalize() for item in items},
    )
    return {
        "settings.md": _document(ENGLISH, *english),
        "settings.zh.md": _document(CHINESE, chinese.HELP, chinese.DEFAULTS, chinese.GROUPS),
    }


def _document(language, meanings, defaults, groups):
    lines = [f"# {language.title}", "", language.introduction]
    for group, heading in groups.items():
        lines += ["", f"## {heading}", "", _row(language.columns), _row(["---"] * len(language.columns))]
        for item in settings():
            if item.metadata["group"] == group:
                scripts = language.comma.join(item.metadata["scripts"])
                default = defaults.get(item.name) or _default(item, language)
                lines.append(_row([_name(item), default, _allowed(item, language), scripts, meanings[item.name]]))
    return "\n".join(lines) + "\n"


def _name(item):
    flag = flag_of(item)
    return f"`{item.name}`" if flag == item.name else f"`{item.name}` (`--{flag}`)"


def _row(cells):
    return f"| {' | '.join(cells)} |"


def _default(item: Field, language):
    if item.default is None:
        return language.none
    return language.switch[item.default] if isinstance(item.default, bool) else f"`{item.default}`"


def _allowed(item: Field, language):
    rule, (kind, is_tuple) = item.metadata, type_of(item)
    if kind is bool:
        return language.comma.join(reversed(language.switch))
    if rule["choices"]:
        text = language.comma.join(f"`{choice}`" for choice in rule["choices"])
    else:
        text = " ".join([rule["metavar"] or language.kinds[kind], language.also.join(_bounds(rule))]).strip()
    if rule["length"]:
        return language.exactly.format(rule["length"], text)
    return language.several.format(text) if is_tuple else text


def _bounds(rule):
    signs = {"above": ">", "low": "≥", "high": "≤"}
    bounds = {sign: rule[key] for key, sign in signs.items() if rule[key] is not None}
    return [f"{sign} {bound:,}" if isinstance(bound, int) else f"{sign} {bound:g}" for sign, bound in bounds.items()]


def main() -> None:
    for name, text in documents().items():
        (DOCS / name).write_text(text, encoding="utf-8")
        print(f"docs/{name}")


if __name__ == "__main__":
    main()
