"""Novels in any encoding and format -> data/train.json, and a report of what was kept and dropped.

python prepare_data.py 小说目录/ 另一本.txt more.jsonl --output data/train.json

1 read  2 clean, convert, cut into chapters, on all cores  3 find what is there twice  4 write what is left  5 report.
The texts between 2 and 4 lie in a file beside the output, so memory does not grow with the corpus.
"""

import gpt2zh.needs  # noqa: F401

# isort: split

from array import array
from collections.abc import Container, Sequence

import numpy as np

from gpt2zh.cleaning.duplicates import DuplicateFinder, ParagraphCounter, RepeatedParagraphs, near_threshold
from gpt2zh.cleaning.keep import write_kept
from gpt2zh.cleaning.page import write_page
from gpt2zh.cleaning.prepare import CONVERSIONS, Steps, load_converter
from gpt2zh.cleaning.report import Report
from gpt2zh.cleaning.rules import RULES
from gpt2zh.cleaning.sources import Reading, find_sources
from gpt2zh.cleaning.workers import prepare_all
from gpt2zh.errors import run_script, say
from gpt2zh.flags.prepare_data import prepare_data_flags
from gpt2zh.shards.plan import hold_out
from gpt2zh.system.files import require_writable
from gpt2zh.text.writer import HeldPieces


def main(argv: Sequence[str] | None = None) -> None:
    flags = prepare_data_flags([rule.name for rule in RULES], CONVERSIONS, argv)
    rules = [rule.name for rule in RULES if rule.name not in flags.skip_rules]
    report_path = flags.report or flags.output.with_name(f"{flags.output.stem}_report.md")
    val_path = flags.output.with_name(f"{flags.output.stem}_val{flags.output.suffix}")
    sources = find_sources(flags.inputs, [flags.output, report_path, val_path])
    require_writable(flags.output.parent)
    load_converter(flags.convert)  # a missing package is found here, not in a worker
    threshold = near_threshold(flags.near_duplicates)
    report = Report(sources, rules, threshold)

    flags.output.parent.mkdir(parents=True, exist_ok=True)
    with HeldPieces(flags.output.parent) as held:
        # ----- 1, 2. read, clean, convert, cut; the pieces are held on disk ------------------------------------------
        finder = DuplicateFinder() if threshold is None else DuplicateFinder(threshold)
        paragraphs = ParagraphCounter()
        lengths = array("q")
        reading = Reading(flags.split_chapters, flags.documents, flags.text_key)
        steps = Steps(rules, flags.convert, threshold is not None, bool(flags.paragraph_length))
        for prepared in prepare_all(sources, report, reading, steps):
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
    write_page(report_path, report)
    for line in report.lines():
        say(*line)
    written = [str(flags.output), *([str(val_path)] if n_validation else [])]
    say(
        f"语料已写入 {'、'.join(written)}；清洗报告：{report_path}",
        f"the corpus is in {' and '.join(written)}; the cleaning report in {report_path}",
    )
    if not n_validation and val_path.exists():
        say(
            f"注意：{val_path} 是以前的验证集，其中的文字现在可能也在 {flags.output} 里，不要再拿它评估。",
            f"note: {val_path} is the validation set of an earlier run; its text may now be in {flags.output} too, so do not evaluate with it any more.",
        )


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


if __name__ == "__main__":
    run_script(main)
