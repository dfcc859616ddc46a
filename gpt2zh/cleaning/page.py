"""The cleaning report as a page of Markdown that a person can judge.

In: a `Report`. Out: the page, as a file.
"""

from pathlib import Path

from gpt2zh.cleaning.markdown import code, plain, table
from gpt2zh.cleaning.report import EXAMPLES, Report, RuleWork
from gpt2zh.cleaning.rules import RULES
from gpt2zh.errors import bilingual
from gpt2zh.system.files import write_text
from gpt2zh.text.folder import REPORT_TITLE

WITHOUT_EXAMPLES = {"line_ends", "empty_lines", "indents"}  # nothing to see


def write_page(path: Path, report: Report) -> None:
    """Write the page."""
    parts = [
        REPORT_TITLE,
        report.totals()[0] + "。",
        report.totals()[1] + ".",
        _sources(report),
        _rules(report),
        _duplicates(report),
        _paragraphs(report),
    ]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")


def _sources(report: Report) -> str:
    head = "文件 / file|编码 / encoding|坏字 / broken|读入字数 / read|清洗后 / cleaned|重复文章 / duplicates|重复段落 / paragraphs|过短 / short|留下篇数 / kept|留下字数 / characters"
    rows = [
        [
            source.name, source.encoding or "-", source.n_broken, source.read, source.cleaned, source.in_duplicates,
            source.in_paragraphs, source.in_short, source.n_kept, source.kept,
        ]
        for source in report.sources
    ]  # fmt: skip
    problems = [
        f"- **{bilingual('没有读完', 'not read')}**：{plain(s.name)}：{bilingual(*s.problem)}"
        for s in report.sources
        if s.problem
    ]
    faults = [(source.name, report.all_faults(source)) for source in report.sources]
    problems += [f"- {plain(name)}{plain(bilingual(*texts))}" for name, texts in faults if texts[0]]
    return f"## {bilingual('文件', 'files')}\n\n" + "\n".join([*table(head.split("|"), rows), "", *problems]).rstrip()


def _rules(report: Report) -> str:
    lines = [
        f"## {bilingual('清洗规则', 'rules')}",
        "",
        bilingual(
            "关掉一条：`--skip_rules 名字`。例子是改前 → 改后。",
            "switch one off with `--skip_rules name`. Examples are before → after.",
        ),
    ]
    for rule in RULES:
        if rule.name not in report.rules:
            lines += ["", f"### {rule.name}：{bilingual(rule.zh, rule.en)}：{bilingual('没有用', 'off')}"]
            continue
        work = report.rules[rule.name]
        lines += ["", f"### {rule.name}：{bilingual(rule.zh, rule.en)}：{_work(work)}"]
        examples = [] if rule.name in WITHOUT_EXAMPLES else work.examples[:EXAMPLES]
        if examples:
            lines.append("")
        lines += [f"- {code(one.before)} → {code(one.after)}（{plain(one.file)}）" for one in examples]
    return "\n".join(lines)


def _work(work: RuleWork) -> str:
    if not work.n_places:
        return "0"
    return bilingual(
        f"{work.n_places} 处，少了 {work.removed} 字", f"{work.n_places} places, {work.removed} characters fewer"
    )


def _duplicates(report: Report) -> str:
    if not report.dropped:
        return ""
    rows = [
        [one.beginning, one.file, one.kind, f"{one.similarity:.2f}", *_original(report, one.of)]
        for one in report.dropped
    ]
    head = "去掉的 / dropped|文件 / file|种类 / kind|相似 / similarity|留下的 / kept|文件 / file"
    intro = bilingual(
        f"完全相同（exact）{report.n_exact} 篇，近似（near）{report.n_near} 篇，大半段落已有（paragraphs）{report.n_repeated} 篇",
        f"{report.n_exact} equal (exact), {report.n_near} alike (near), {report.n_repeated} mostly of earlier paragraphs (paragraphs)",
    ) + (f"（≥ {report.threshold}）" if report.threshold else "")
    return f"## {bilingual('重复的文章', 'duplicates')}\n\n{intro}\n\n" + "\n".join(table(head.split("|"), rows))


def _original(report: Report, number: int | None) -> tuple[str, str]:
    """The beginning and the file of a kept piece; blank where there is none, or it was not kept."""
    return ("", "") if number is None else report.kept_places.get(number, ("", ""))


def _paragraphs(report: Report) -> str:
    if not report.repeated:
        return ""
    rows = [[text, count] for text, count in report.repeated.most_common(4 * EXAMPLES)]
    head = ["段落 / paragraph", "去掉次数 / dropped"]
    return f"## {bilingual('重复的段落', 'repeated paragraphs')}\n\n" + "\n".join(table(head, rows))
