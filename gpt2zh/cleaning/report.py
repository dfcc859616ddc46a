"""What prepare_data.py kept and dropped, counted for every file and rule.

In: what each step did. Out: the counts, for `page`; a few lines for the console.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

from gpt2zh.cleaning.documents import NAMES, Unit
from gpt2zh.cleaning.duplicates import Duplicate
from gpt2zh.cleaning.markdown import excerpt
from gpt2zh.cleaning.mojibake import Suspect
from gpt2zh.cleaning.prepare import Prepared
from gpt2zh.errors import UserError
from gpt2zh.text.corpus import FileRead

EXAMPLES = 5  # shown of each kind
LEAST_CLEANED = 0.6  # share of a file's characters; indents and tags of a web page take less than the rest
MOST_SHARED = 0.1  # share of a book that earlier files have without a word
LONGEST_CHAPTER = 50_000  # characters; a longer piece is most likely a book whose headings were not found
MOST_LISTED = 200  # duplicates
MOST_COUNTED = 10_000  # different repeated paragraphs


@dataclass
class Source:
    """A file (or a data set, whose `path` is None), and what became of it; counts are characters unless said."""

    name: str
    path: Path | None
    n_bytes: int
    from_folder: bool
    encoding: str = ""
    n_broken: int = 0
    faults: tuple[str, str] = ("", "")
    problem: tuple[str, str] | None = None
    documents: Unit = "file"  # what they were guessed to be
    n_suspects: int = 0
    there: float = 0.0
    n_traditional: int = 0
    n_simplified: int = 0
    suspects: list[Suspect] = field(default_factory=list)
    n_texts: int = 0
    read: int = 0
    cleaned: int = 0
    n_pieces: int = 0
    longest: int = 0
    in_duplicates: int = 0
    in_paragraphs: int = 0
    in_short: int = 0
    kept: int = 0
    n_kept: int = 0


class Example(NamedTuple):
    """A change that a rule made."""

    file: str
    before: str
    after: str


@dataclass
class RuleWork:
    """How often a rule found something, how many characters went, and examples."""

    n_places: int = 0
    removed: int = 0
    examples: list[Example] = field(default_factory=list)


class Dropped(NamedTuple):
    """A piece that repeats others: its beginning, its file, and the number of the one that is kept, where it is one."""

    beginning: str
    file: str
    kind: Literal["exact", "near", "paragraphs"]
    similarity: float
    of: int | None


class Report:
    """Counts while prepare_data.py works."""

    def __init__(self, sources: list[Source], rules: Sequence[str], threshold: float | None) -> None:
        self.sources = sources
        self.rules = {name: RuleWork() for name in rules}
        self.threshold = threshold
        self.dropped: list[Dropped] = []
        self.n_exact = self.n_near = self.n_repeated = 0
        self.repeated: Counter[str] = Counter()
        self.n_paragraphs = 0
        self.n_short = self.n_validation = 0
        self.kept_places: dict[int, tuple[str, str]] = {}

    def decoded(self, source: int, read: FileRead) -> None:
        """Note how a file was decoded."""
        noted = self.sources[source]
        noted.encoding, noted.n_broken, noted.faults = read.encoding, read.n_broken, read.faults()

    def skip(self, source: int, error: Exception) -> None:
        """Note a file that could not be read, or not to its end."""
        problem = (error.zh, error.en) if isinstance(error, UserError) else (str(error), str(error))
        self.sources[source].problem = problem

    def add(self, prepared: Prepared) -> None:
        """Count a text that was cleaned and cut."""
        source = self.sources[prepared.source]
        source.n_texts += 1
        source.read += prepared.n_characters
        source.cleaned += sum(map(len, prepared.pieces))
        source.n_pieces += len(prepared.pieces)
        source.longest = max(source.longest, *map(len, prepared.pieces), 0)
        source.n_traditional += prepared.n_traditional
        source.n_simplified += prepared.n_simplified
        source.n_suspects += len(prepared.suspects)
        source.suspects += prepared.suspects[: EXAMPLES - len(source.suspects)]
        for name, count in prepared.counts.items():
            work = self.rules[name]
            work.n_places += count
            work.removed += prepared.removed[name]
            if len(work.examples) < EXAMPLES:
                work.examples += [Example(source.name, *example) for example in prepared.examples.get(name, [])[:2]]

    def all_faults(self, source: Source) -> tuple[str, str]:
        """What a file has lost, Chinese and English, each beginning with a comma; "" for nothing."""
        zh, en = source.faults
        if source.n_suspects:
            shown = " ".join(f"{one.number}「{one.beginning}」" for one in source.suspects)
            zh += f"，{source.n_suspects} 行像是以前解码错了，丢了的字找不回来，请找原来的文件（第几行：{shown}）"
            en += f", {source.n_suspects} lines look wrongly decoded before, and what is lost cannot be found again: look for the original file (line: {shown})"
        return zh, en

    def name_originals(self, duplicates: dict[int, Duplicate]) -> None:
        """Note which kept pieces the page will name beside their copies."""
        self.kept_places = {duplicate.of: ("", "") for duplicate in islice(duplicates.values(), MOST_LISTED)}

    def note_share(self, source: int, there: float, n_pieces: int) -> None:
        """Note how much of a file, of so many pieces, earlier ones have."""
        if n_pieces > 1:
            self.sources[source].there = max(self.sources[source].there, there)

    def drop_duplicate(self, source: int, text: str, duplicate: Duplicate) -> None:
        """Count a piece that repeats an earlier one."""
        self.sources[source].in_duplicates += len(text)
        self.n_exact += duplicate.kind == "exact"
        self.n_near += duplicate.kind == "near"
        self._list(
            Dropped(excerpt(text), self.sources[source].name, duplicate.kind, duplicate.similarity, duplicate.of)
        )

    def _list(self, dropped: Dropped) -> None:
        if len(self.dropped) < MOST_LISTED:
            self.dropped.append(dropped)

    def drop_repeated(self, source: int, text: str, rest: str) -> None:
        """Count a piece most of whose paragraphs were there before; `rest` is what was not."""
        self.sources[source].in_duplicates += len(text)
        self.n_repeated += 1
        share = 1 - len(rest) / len(text)
        self._list(Dropped(excerpt(text), self.sources[source].name, "paragraphs", share, None))

    def drop_paragraphs(self, source: int, lines: list[str], kept: list[str], n_characters: int) -> None:
        """Count what repeated paragraphs cost a piece: characters, line ends included; `kept` are its other lines."""
        if len(kept) < len(lines):
            dropped = Counter(lines) - Counter(kept)
            self.sources[source].in_paragraphs += n_characters
            self.n_paragraphs += dropped.total()
            self.repeated.update({excerpt(line): n for line, n in dropped.items()})
            if len(self.repeated) > 2 * MOST_COUNTED:
                self.repeated = Counter(dict(self.repeated.most_common(MOST_COUNTED)))

    def drop_short(self, source: int, text: str) -> None:
        """Count a piece that --min_length leaves out, or of which repeated paragraphs left nothing."""
        self.n_short += 1
        self.sources[source].in_short += len(text)

    def keep(self, number: int, source: int, text: str, validates: bool) -> None:
        """Count a piece that was written."""
        self.sources[source].kept += len(text)
        self.sources[source].n_kept += 1
        self.n_validation += validates
        if number in self.kept_places:
            self.kept_places[number] = (excerpt(text), self.sources[source].name)

    def total(self, name: str) -> int:
        """Sum of a count over the sources."""
        return sum(getattr(source, name) for source in self.sources)

    def lines(self) -> list[tuple[str, str]]:
        """What the console shows at the end: files that were not read or are odd, then the totals."""
        shown = []
        for source in self.sources:
            if source.problem:
                shown.append(
                    (
                        f"没有读完 {source.name}：{source.problem[0]}",
                        f"{source.name} was not read to its end: {source.problem[1]}",
                    )
                )
            if source.documents != "file":
                zh, en = NAMES[source.documents]
                shown.append(
                    (
                        f"{source.name}：看来{zh}，照此切成 {source.n_texts} 篇。不对就加 --documents file。",
                        f"{source.name}: it seems that {en}, so it is cut into {source.n_texts}. If that is wrong, give --documents file.",
                    )
                )
            if source.cleaned < LEAST_CLEANED * source.read:
                share = source.cleaned / source.read
                shown.append(
                    (
                        f"注意：{source.name} 清洗后只剩 {share:.0%} 的字，请看报告。",
                        f"note: the rules left only {share:.0%} of the characters of {source.name}; see the report.",
                    )
                )
            if MOST_SHARED < source.there and source.kept:
                shown.append(
                    (
                        f"注意：{source.name} 的 {source.there:.0%} 在前面的文件里已有（另一版本？）；留下 {source.n_kept} 篇 {source.kept} 字。",
                        f"note: earlier files have {source.there:.0%} of {source.name} (another edition?); {source.n_kept} pieces of {source.kept} characters are kept.",
                    )
                )
            if source.longest > LONGEST_CHAPTER:
                shown.append(
                    (
                        f"注意：{source.name} 有一篇长 {source.longest} 字：可能有没认出的章节标题（共切成 {source.n_pieces} 篇）。",
                        f"note: a piece of {source.name} has {source.longest} characters: its chapters' headings may not have been found ({source.n_pieces} pieces in all).",
                    )
                )
            zh, en = self.all_faults(source)
            if zh or source.encoding not in ("", "utf-8", "utf-8-sig"):
                shown.append((f"{source.name}：{source.encoding or 'utf-8'}{zh}", f"{source.encoding or 'utf-8'}{en}"))
        return [*shown, *self.mixed(), self.totals()]

    def mixed(self) -> Iterator[tuple[str, str]]:
        """A hint at --convert where files in traditional and in simplified characters are together."""
        kinds = [
            (source.name, source.n_traditional > source.n_simplified)
            for source in self.sources
            if source.n_traditional + source.n_simplified
        ]
        traditional = [name for name, is_traditional in kinds if is_traditional]
        if 0 < len(traditional) < len(kinds):
            rare = len(traditional) <= len(kinds) / 2
            names = traditional if rare else [name for name, is_traditional in kinds if not is_traditional]
            shown = " ".join(names[:EXAMPLES]) + (" …" if len(names) > EXAMPLES else "")
            zh, en, convert = ("繁体", "traditional", "t2s") if rare else ("简体", "simplified", "s2t")
            yield (
                f"注意：{len(names)} 个文件是{zh}，其余不是：{shown}。要统一，请加 --convert {convert}。",
                f"note: {len(names)} files are in {en} characters, the others are not: {shown}. To have all alike, give --convert {convert}.",
            )

    def totals(self) -> tuple[str, str]:
        """What became of the characters, in one sentence."""
        total = self.total
        n_duplicates = self.n_exact + self.n_near + self.n_repeated
        return (
            f"读入 {total('n_texts')} 篇 {total('read')} 字；清洗后 {total('n_pieces')} 篇 {total('cleaned')} 字；"
            f"重复文章 {n_duplicates} 篇 {total('in_duplicates')} 字；重复段落 {self.n_paragraphs} 段 {total('in_paragraphs')} 字；"
            f"过短 {self.n_short} 篇；留下 {total('n_kept')} 篇 {total('kept')} 字（其中验证 {self.n_validation} 篇）",
            f"{total('n_texts')} texts of {total('read')} characters read; cleaned: {total('n_pieces')} of {total('cleaned')} characters; "
            f"{n_duplicates} duplicates of {total('in_duplicates')} characters; {self.n_paragraphs} repeated paragraphs of {total('in_paragraphs')} characters; "
            f"{self.n_short} too short; {total('n_kept')} of {total('kept')} characters kept ({self.n_validation} of them for validation)",
        )
