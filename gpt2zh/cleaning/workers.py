"""What prepare_data.py does to one text, for all of them, on all cores.

In: sources, and what is to be done. Out: their texts, prepared, in order; counted in the report, under a progress bar.
"""

from collections.abc import Iterator

from tqdm import tqdm

from gpt2zh.cleaning.prepare import Prepared, Steps, preparer
from gpt2zh.cleaning.report import Report, Source
from gpt2zh.cleaning.sources import Reading, raw_texts
from gpt2zh.system.workers import batches, n_cores, ordered_map

BATCH = 200_000  # characters a task of a worker
SMALL = 4_000_000  # bytes; below, starting workers takes longer than the work


def prepare_all(sources: list[Source], report: Report, reading: Reading, steps: Steps) -> Iterator[Prepared]:
    """`steps` for every text of every source, in order, counted in the report."""
    n_bytes = sum(source.n_bytes for source in sources)
    n_workers = n_cores() if n_bytes > SMALL or any(source.path is None for source in sources) else 1
    with tqdm(total=n_bytes or None, desc="prepare", unit="B", unit_scale=True) as bar:
        tasks = batches(raw_texts(sources, report, bar.update, reading), lambda raw: len(raw.text), BATCH)
        for done in ordered_map(tasks, n_workers, preparer, (steps,)):
            for prepared in done:
                report.add(prepared)
                yield prepared
