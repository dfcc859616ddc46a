"""A document -> the same without what its website, its format or its scanner put in. Cleaning twice changes nothing more.

In: the text of one document, and the rules to apply: all of `RULES`, or some of them.
Out: the text, and per rule how many places it changed and some of them, before and after.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from gpt2zh.cleaning import advertising, characters, layout, markup, mojibake, pages
from gpt2zh.cleaning.edits import EXAMPLES, Edit

MOST_PASSES = 8  # one is enough, but for text that was escaped twice and the like


class Rule(NamedTuple):
    """One kind of dirt: its name on the command line, what it is in both languages, and what takes it out."""

    name: str
    zh: str
    en: str
    apply: Callable[[str], Edit]


RULES = (
    Rule("pages", "页码、页眉（每页一次，插在句中）", "page numbers and running titles, once a page", pages.pages),
    Rule("line_ends", "换行统一为 LF", "line ends are LF", markup.line_ends),
    Rule("mojibake", "以前解码错了的行（娓呮櫒鐨 → 清晨的）", "lines that were wrongly decoded before", mojibake.mojibake),
    Rule("markup", "HTML 标签、注释、脚本", "HTML tags, comments, scripts", markup.markup),
    Rule("entities", "HTML 实体（&nbsp; &times;）", "HTML entities (&nbsp; &times;)", markup.entities),
    Rule("invisible", "控制字符、零宽字符、解码失败的字符", "control, zero-width and broken characters", markup.invisible),
    Rule("private_use", "私用区字符换成 □", "private-use characters become □", markup.private_use),
    Rule("same_characters", "同一个字的别的编码（PDF 的部首、兼容字、拆开的音符）", "other codes of a character (radicals of PDFs, compatibility ideographs, parted accents)", characters.same_characters),
    Rule("blanks", "全角、不间断空格和制表符换成空格，行尾空格", "full-width, no-break blanks and tabs; trailing blanks", markup.blanks),
    Rule("fences", "Markdown 代码围栏", "Markdown code fences", markup.fences),
    Rule("page_headers", "句中的页眉页码", "running titles and page numbers inside sentences", layout.page_headers),
    Rule("advertisements", "网站广告", "websites' advertisements", advertising.advertisements),
    Rule("urls", "网址", "web addresses", advertising.urls),
    Rule("rulers", "分隔线（=====）", "ruled lines (=====)", advertising.rulers),
    Rule("chapter_ends", "章末标记（本章完）", "chapter-end marks (本章完)", advertising.chapter_ends),
    Rule("contents", "与正文重复的目录", "a table of contents that repeats the headings", layout.contents),
    Rule("footnotes", "段间脚注及其标号", "footnotes between paragraphs, with their marks", layout.footnotes),
    Rule("unwrap", "合并硬换行", "hard-wrapped lines joined", layout.unwrap),
    Rule("indents", "段首缩进", "paragraphs' indents", markup.indents),
    Rule("empty_lines", "空行", "empty lines", markup.empty_lines),
)  # fmt: skip


class Cleaned(NamedTuple):
    """A cleaned text, and what each rule that found something did."""

    text: str
    counts: dict[str, int]
    removed: dict[str, int]  # characters fewer
    examples: dict[str, list[tuple[str, str]]]


def clean(text: str, rules: Iterable[Rule] = RULES) -> Cleaned:
    """Apply `rules` in their order, again and again until nothing changes."""
    rules = list(rules)
    counts: dict[str, int] = {}
    removed: dict[str, int] = {}
    examples: dict[str, list[tuple[str, str]]] = {}
    for _ in range(MOST_PASSES):
        before = text
        for rule in rules:
            n_characters = len(text)
            text, count, shown = rule.apply(text)
            if count:
                removed[rule.name] = removed.get(rule.name, 0) + n_characters - len(text)
                counts[rule.name] = counts.get(rule.name, 0) + count
                examples[rule.name] = [*examples.get(rule.name, []), *shown][:EXAMPLES]
        if text == before:
            break
    return Cleaned(text, counts, removed, examples)
