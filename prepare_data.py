"""Novels in any encoding and format -> data/train.json, and a report of what was kept and dropped.

python prepare_data.py 小说目录/ 另一本.txt more.jsonl --output data/train.json

1 read  2 clean, convert, cut into chapters, on all cores  3 find what is there twice  4 write what is left  5 report.
The texts between 2 and 4 lie in a file beside the output, so memory does not grow with the corpus.
"""

from array import array
from collections import Counter
from collections.abc import Container, Iterator
from pathlib import Path

import numpy as np
from tqdm import tqdm

from gpt2zh.cleaning.duplicates import Duplicate, DuplicateFinder, ParagraphCounter, RepeatedParagraphs
from gpt2zh.cleaning.prepare import CONVERSIONS, Prepared, RawText, Steps, load_converter, preparer
from gpt2zh.cleaning.report import Report, Source, is_report
from gpt2zh.cleaning.rules import RULES
from gpt2zh.errors import UserError, run_script, say
from gpt2zh.flags.old_flags import prepare_data_flags
from gpt2zh.shards.plan import hold_out
from gpt2zh.system.files import require_writable, write_text
from gpt2zh.system.workers import batches, n_cores, ordered_map
from gpt2zh.text import corpus, hub
from gpt2zh.text.corpus import FileRead
from gpt2zh.text.writer import CorpusWriter, HeldPieces

BATCH = 200_000  # characters a task of a worker
SMALL = 4_000_000  # bytes; below, starting workers takes longer than the work
HUB = "hf:"
DEFAULT_THRESHOLD = 0.8
LEAST_KEPT = 0.5  # of a piece; where repeated paragraphs leave less, the rest is shreds


def main() -> None:
    flags = prepare_data_flags([rule.name for rule in RULES], CONVERSIONS)
    report_path = flags.report or flags.output.with_name(f"{flags.output.stem}_report.md")
    val_path = flags.output.with_name(f"{flags.output.stem}_val{flags.output.suffix}")
    sources = find_sources(flags.inputs, [flags.output, report_path, val_path])
    require_writable(flags.output.parent)
    load_converter(flags.convert)  # a missing package is found here, not in a worker
    threshold = near_threshold(flags.near_duplicates)
    report = Report(sources, flags.rules, threshold)

    flags.output.parent.mkdir(parents=True, exist_ok=True)
    with HeldPieces(flags.output.parent) as held:
        # ----- 1, 2. read, clean, convert, cut; the pieces are held on disk ------------------------------------------
        finder = DuplicateFinder(threshold or DEFAULT_THRESHOLD)
        paragraphs = ParagraphCounter()
        lengths = array("q")
        steps = Steps(flags.rules, flags.convert, threshold is not None, bool(flags.paragraph_length))
        for prepared in prepare_all(sources, report, flags.split_chapters, steps):
            for piece, signature, numbers in zip(prepared.pieces, prepared.signatures, prepared.paragraphs):
                held.add(prepared.source, piece)
                finder.add_signature(signature)
                lengths.append(len(piece))
                paragraphs.add_numbers(numbers)

        # ----- 3. what is there twice, what validates ----------------------------------------------------------------
        duplicates = {} if flags.keep_duplicates else finder.find()
        report.name_originals(duplicates)
        repeats = RepeatedParagraphs(paragraphs.repeated(), flags.paragraph_length)
        validates = choose_validation(np.array(lengths), finder.hashes(), duplicates, flags.min_length, flags.val_ratio)

        # ----- 4. write ----------------------------------------------------------------------------------------------
        n_validation = write_kept(
            flags.output, val_path, held, duplicates, repeats, validates, flags.min_length, report
        )

    # ----- 5. report -------------------------------------------------------------------------------------------------
    write_text(report_path, report.markdown())
    for line in report.lines():
        say(*line)
    written = f"{flags.output}" + (f"、{val_path}" if n_validation else "")
    say(f"语料已写入 {written}；清洗报告：{report_path}", f"corpus written; the report: {report_path}")
    if not n_validation and val_path.exists():
        say(
            f"注意：{val_path} 是以前的验证集，其中的文字现在可能也在 {flags.output} 里，不要再拿它评估。",
            f"note: {val_path} is an earlier run's; its text may now be in {flags.output}, so do not evaluate with it.",
        )


def prepare_all(sources: list[Source], report: Report, split: str, steps: Steps) -> Iterator[Prepared]:
    """`steps` for every text of every source, in order, counted in the report."""
    n_bytes = sum(source.n_bytes for source in sources)
    n_workers = n_cores() if n_bytes > SMALL or any(source.path is None for source in sources) else 1
    with tqdm(total=n_bytes or None, desc="prepare", unit="B", unit_scale=True) as bar:
        tasks = batches(raw_texts(sources, report, bar, split), lambda raw: len(raw.text), BATCH)
        for done in ordered_map(tasks, n_workers, preparer, (steps,)):
            for prepared in done:
                report.add(prepared)
                yield prepared


def write_kept(
    output: Path,
    val_path: Path,
    held: HeldPieces,
    duplicates: dict[int, Duplicate],
    repeats: RepeatedParagraphs,
    validates: np.ndarray,
    min_length: int,
    report: Report,
) -> int:
    """Write the pieces that are no copies, without the paragraphs of earlier ones. Returns how many validate.

    Raises:
        UserError: none is left.
    """
    gone: set[int] = set()  # dropped for another reason than a copy: then their copies are no copies
    with CorpusWriter(output) as train, CorpusWriter(val_path) as val:
        pieces = tqdm(held, total=held.n_pieces, desc="write", unit="doc", unit_scale=True)
        for number, (source, piece) in enumerate(pieces):
            copy = duplicates.get(number)
            if copy and copy.of not in gone:
                report.drop_duplicate(source, piece, copy)
                continue
            lines = piece.split("\n")
            kept = repeats.without(lines)
            text = "\n".join(kept).strip()
            if len(text) < LEAST_KEPT * len(piece):
                gone.add(number)
                report.drop_repeated(source, piece, text)
                continue
            report.drop_paragraphs(source, lines, kept, len(piece) - len(text))
            if len(text) < max(1, min_length):
                gone.add(number)
                report.drop_short(source, text)
                continue
            if copy:
                gone.discard(copy.of)  # this one stands in for it
            repeats.keep(lines)
            (val if validates[number] else train).write(text)
            report.keep(number, source, text, bool(validates[number]))
        if not train.n_written:
            raise UserError(f"没有留下任何文字：{report.totals()[0]}。", f"no text is left: {report.totals()[1]}.")
    return val.n_written


def choose_validation(
    lengths: np.ndarray, hashes: np.ndarray, duplicates: Container[int], min_length: int, val_ratio: float
) -> np.ndarray:
    """Which of the pieces that are kept validate, (n,), bool."""
    kept = np.array([number not in duplicates for number in range(len(lengths))], dtype=bool)
    kept &= lengths >= min_length
    validates = np.zeros(len(lengths), dtype=bool)
    if val_ratio and kept.any():
        validates[kept] = hold_out(lengths[kept], hashes[kept], val_ratio)
    return validates


def find_sources(names: list[str], outputs: list[Path]) -> list[Source]:
    """The files and data sets that the arguments stand for, each once; not what an earlier run wrote into a folder."""
    found: dict[object, Source] = {}
    written = {path.resolve() for path in outputs}
    if len(written) < len(outputs):
        raise UserError(
            f"--output、验证集和 --report 要是不同的文件：{' '.join(map(str, outputs))}。",
            f"--output, the validation file and --report must be different files: {' '.join(map(str, outputs))}.",
        )
    for name in names:
        path = Path(name)
        if name.startswith(HUB) or hub.is_saved_dataset(path):
            found[name] = Source(name.removeprefix(HUB), None, 0, False)
            continue
        if path.is_dir():
            others = Counter(file.suffix for file in path.rglob("*") if file.is_file() and not corpus.is_corpus(file))
            if others:
                shown = " ".join(f"{suffix or '-'} {count}" for suffix, count in others.most_common())
                say(f"{path} 里别种文件没有读：{shown}", f"files of other kinds in {path} are not read")
        for file in corpus.corpus_files(path):
            key = file.resolve()
            if key in written and path == file:
                raise UserError(
                    f"{file} 既是输入又要被写。请给 --output（或 --report）另一个名字。",
                    f"{file} is an input and would be written over. Give --output (or --report) another name.",
                )
            if key not in written and not is_report(file):
                found.setdefault(key, Source(str(file), file, file.stat().st_size, path != file))
    if not found:
        raise UserError(
            f"{' '.join(names)} 里除了 {' '.join(map(str, outputs))} 没有别的文件。",
            f"{' '.join(names)}: no files but {' '.join(map(str, outputs))}.",
        )
    return list(found.values())


def raw_texts(sources: list[Source], report: Report, bar: tqdm, split: str) -> Iterator[RawText]:
    """Every text of every source. A file of a folder that cannot be read is noted in the report; a named one is an error."""
    for number, source in enumerate(sources):
        read: list[FileRead] = []
        is_text = source.path is not None and corpus.suffix_of(source.path) in corpus.TEXT_SUFFIXES
        is_book = split == "always" or (split == "auto" and is_text)
        try:
            if source.path is None:
                texts = hub.read_dataset(source.name)
            else:
                texts = corpus.read_file(source.path, read, corpus.file_state(source.path), bar.update)
            for text in texts:
                yield RawText(number, corpus.without_lone_surrogates(text), is_book)
        except (UserError, OSError) as error:
            if not source.from_folder or source.path is None:
                raise
            report.skip(number, error)
        if read:
            report.decoded(number, read[0])


def near_threshold(asked: float | None) -> float | None:
    """The similarity from which on documents are duplicates; None where only equal ones are looked for."""
    if asked == 0:
        return None
    try:
        import rensa  # noqa: F401
    except ImportError:
        if asked is not None:
            raise UserError(
                f"--near_duplicates {asked} 需要 rensa。请运行 pip install rensa；或给 0，只查完全相同的。",
                f"--near_duplicates {asked} needs rensa. Run pip install rensa; or give 0 for equal documents only.",
            ) from None
        say(
            "没有安装 rensa，只查完全相同的文章；pip install rensa 可查近似的。",
            "no rensa: only equal documents are found",
        )
        return None
    return asked or DEFAULT_THRESHOLD


if __name__ == "__main__":
    run_script(main)
