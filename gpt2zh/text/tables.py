"""Tables -> documents, one a row: CSV, TSV, parquet.

In: a file, and the column of its text where it is named. Out: the text of each row.
Refuses: a table without a column that is plainly the text's, with the names of those that it has; a parquet file that is damaged.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.text import entries
from gpt2zh.text.lines import LONGEST, lines_of

DELIMITERS = {".csv": ",", ".tsv": "\t"}
COLUMNS = (*entries.TEXT_KEYS, "body", "正文", "文本", "内容", "文章", "全文")  # of a CSV or TSV file, in whatever case
BATCH = 1000  # rows of parquet in memory at a time


def rows(chunks: Iterator[str], path: Path, delimiter: str, column: str | None) -> Iterator[str]:
    """The documents of a CSV or TSV file, whose first row names its columns; of one without names and with one column, all rows."""
    csv.field_size_limit(LONGEST)
    table = csv.reader((line + "\n" for line in lines_of(chunks, path)), delimiter=delimiter, strict=True)
    try:
        head = [name.strip() for name in next(table, [])]
        if len(head) == 1 and column is None and head[0].lower() not in COLUMNS:
            yield head[0]
            place = 0
        else:
            place = _place(head, path, column)
        for row in filter(None, table):
            yield row[place] if place < len(row) else ""
    except csv.Error as error:
        raise UserError(
            f"{path} 第 {table.line_num} 行不是合法的 CSV：{error}。请改正那里的引号。",
            f"{path} is not valid CSV at line {table.line_num}: {error}. Correct the quotes there.",
        ) from None


def _place(head: Sequence[str], path: Path, column: str | None) -> int:
    """The number of the text's column."""
    if column is not None and column in head:
        return head.index(column)
    names = [name.lower() for name in head]
    known = next((names.index(name) for name in COLUMNS if name in names), None)
    if column is None and known is not None:
        return known
    shown = " ".join(head)[:300]
    if column is None:
        raise UserError(
            f"{path} 的第一行应是列名，其中一列叫 {' / '.join(COLUMNS)}；现在是：{shown}。请用 prepare_data.py --text_column 列名 指明哪一列是正文。",
            f"the first row of {path} must name its columns, one of them {' / '.join(COLUMNS)}; it is: {shown}. Say which one is the text: prepare_data.py --text_column NAME.",
        )
    raise UserError(
        f"{path} 没有 --text_column {column} 这一列；它的列是：{shown}。",
        f"{path} has no column {column} (--text_column); its columns are: {shown}.",
    )


# ----- parquet --------------------------------------------------------------------------------------------------------


def parquet_rows(path: Path, column: str | None) -> Iterator[str]:
    """The documents of a parquet file, a batch of rows in memory at a time."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(
            f"读 {path} 需要 pyarrow。请运行 pip install pyarrow。",
            f"reading {path} needs pyarrow. Run pip install pyarrow.",
        ) from None
    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            keys = [key for key in ((column,) if column else entries.TEXT_KEYS) if key in names]
            if not keys:
                raise UserError(
                    f"{path} 没有 {column or ' / '.join(entries.TEXT_KEYS)} 列；它的列是 {' '.join(names)}。请用 prepare_data.py --text_column 列名 指明。",
                    f"{path} has no column {column or ' / '.join(entries.TEXT_KEYS)}; its columns are {' '.join(names)}. Name one: prepare_data.py --text_column NAME.",
                )
            for batch in file.iter_batches(batch_size=BATCH, columns=keys):
                for row in batch.to_pylist():
                    number += 1
                    yield entries.document_of(row, path, f"第 {number} 行", f"row {number}", column)
    except UserError:
        raise
    except (
        pyarrow.ArrowException,
        OSError,
        ValueError,
        KeyError,
    ) as error:  # of a flipped bit, or text that is not UTF-8
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path} 不是完整的 parquet 文件：第 {number + 1} 行或其后读不出来（{reason}）。请重新下载。",
            f"{path} is not a complete parquet file: row {number + 1} or one after it cannot be read ({reason}). Download it again.",
        ) from None
