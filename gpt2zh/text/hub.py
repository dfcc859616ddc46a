"""Hugging Face data sets -> documents, row by row; nothing is downloaded whole. Needs `datasets`, an extra.

In: `owner/name` or `owner/name:configuration` on the hub, or a folder that `save_to_disk` wrote. Out: texts.
Refuses: data sets without a column of text; names that the hub does not know; no connection.
"""

from collections.abc import Iterator
from pathlib import Path

from gpt2zh.errors import UserError
from gpt2zh.text.entries import TASK, TEXT_KEYS, TURNS, document_of

SAVED = ("dataset_info.json", "dataset_dict.json")


def is_saved_dataset(path: Path) -> bool:
    """Whether `path` is a folder that `datasets` wrote."""
    return any((path / name).exists() for name in SAVED)


def read_dataset(name: str, key: str | None = None) -> Iterator[str]:
    """The documents of the split "train" (or the only one) of a data set. `key`: the text's column, where it is named."""
    try:
        import datasets
    except ImportError:
        raise UserError(
            f"读数据集 {name} 需要 datasets。请运行 pip install datasets。",
            f"reading the data set {name} needs datasets. Run pip install datasets.",
        ) from None
    try:
        if is_saved_dataset(Path(name)):
            data = datasets.load_from_disk(name)
        else:
            repository, _, configuration = name.partition(":")
            data = datasets.load_dataset(repository, configuration or None, streaming=True)
    except Exception as error:  # the library raises many kinds: no such name, no connection, a script that it refuses
        raise UserError(
            f"打不开数据集 {name}：{error}。请检查名字与网络；也可先下载成 parquet 再给路径。",
            f"cannot open the data set {name}: {error}. Check the name and the network; or download it as parquet first and give the path.",
        ) from None
    if isinstance(data, dict):  # several splits
        data = data["train"] if "train" in data else next(iter(data.values()))
    columns = data.column_names or []
    known = (key,) if key else (*TEXT_KEYS, *TURNS, TASK[-1])
    if columns and not any(name in columns for name in known):
        raise UserError(
            f"数据集 {name} 没有 {' / '.join(known)} 列；它的列是 {' '.join(columns)}。请用 --text_column 指明。",
            f"the data set {name} has no column {' / '.join(known)}; its columns are {' '.join(columns)}. Name one: --text_column.",
        )
    for number, row in enumerate(data, 1):
        yield document_of(row, name, f"第 {number} 行", f"row {number}", key)
