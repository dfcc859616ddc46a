"""Tables, subtitles and conversations are not prose: their text is read, what is around it is not."""

import gzip
import json
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
from conftest import call
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt2zh.errors import UserError
from gpt2zh.text.corpus import Corpus
from gpt2zh.text.subtitles import is_subtitles, spoken

ROWS = ['清晨的集市，刚刚开张。\n第二段，有"引号"。', "雨下了一整夜", "山顶的庙"]


def documents(path: Path) -> list[str]:
    return list(Corpus(path))


def table(delimiter: str, *rows: list[str]) -> str:
    quoted = (delimiter.join('"' + cell.replace('"', '""') + '"' for cell in row) for row in rows)
    return "\r\n".join(quoted) + "\r\n"


@pytest.mark.parametrize("name", ["text", "Content", "正文", "文本"])
@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "gb18030"])
def test_a_table_gives_the_column_of_its_text(tmp_path: Path, name: str, codec: str) -> None:
    for suffix, delimiter in ((".csv", ","), (".tsv", "\t")):
        rows = [["编号", name, "分"], *([str(i), text, "5"] for i, text in enumerate(ROWS))]
        data = table(delimiter, *rows).encode(codec)
        (tmp_path / f"a{suffix}").write_bytes(data)
        (tmp_path / f"b{suffix}.gz").write_bytes(gzip.compress(data))
        assert documents(tmp_path / f"a{suffix}") == documents(tmp_path / f"b{suffix}.gz") == ROWS


def test_a_column_that_is_named_is_taken_and_one_that_is_not_clear_is_asked_for(workdir: Path) -> None:
    text = table(",", ["标题", "评论"], *(["题", row] for row in ROWS))
    Path("a.csv").write_text(text, encoding="utf-8", newline="")
    arguments = ["a.csv", "--output", "out.json", "--min_length", 1, "--val_ratio", 0]
    for flag in ("--text_column", "--text_key"):
        call("prepare_data.py", *arguments, flag, "评论")
        assert len(json.loads(Path("out.json").read_text(encoding="utf-8"))) == 3
    for more, words in (([], ["标题 评论", "--text_column"]), (["--text_column", "内容"], ["内容", "标题 评论"])):
        with pytest.raises(UserError) as error:
            call("prepare_data.py", *arguments, *more)
        assert all(word in str(error.value) for word in words)


def test_a_key_that_is_named_is_taken(workdir: Path) -> None:
    Path("a.jsonl").write_text('{"t": "书名", "body": "正文在这里"}\n', encoding="utf-8")
    call(
        "prepare_data.py", "a.jsonl", "--output", "out.json", "--min_length", 1, "--val_ratio", 0, "--text_key", "body"
    )
    assert json.loads(Path("out.json").read_text(encoding="utf-8")) == ["正文在这里"]


@pytest.mark.parametrize(
    "entry",
    [
        {"instruction": "讲个故事", "input": "", "output": "从前有座山。"},
        {"id": 1, "conversations": [{"from": "human", "value": "讲个故事"}, {"from": "gpt", "value": "从前有座山。"}]},
        {"messages": [{"role": "system", "content": "你是助手"}, {"role": "user", "content": "讲个故事"}, {"role": "assistant", "content": "从前有座山。"}]},
    ],
)  # fmt: skip
def test_a_conversation_is_its_turns_a_line_each(tmp_path: Path, entry: dict) -> None:
    for name, text in (("a.json", json.dumps([entry])), ("a.jsonl", json.dumps(entry) + "\n")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert documents(tmp_path / name) == ["讲个故事\n从前有座山。"]


@pytest.mark.parametrize("entry", [{"messages": [{"role": "user"}]}, {"conversations": []}, {"output": "x"}])
def test_what_is_no_conversation_is_refused(tmp_path: Path, entry: dict) -> None:
    (tmp_path / "a.json").write_text(json.dumps([entry]), encoding="utf-8")
    with pytest.raises(UserError, match="object with keys"):
        documents(tmp_path / "a.json")


SRT = "1\n00:00:01,000 --> 00:00:02,000\n<i>你好</i>\n\n2\n00:00:03,000 --> 00:00:04,500\n再见，\n2024 年见\n"
VTT = "WEBVTT\n\nintro\n00:01.000 --> 00:02.000 align:start\n你好\n\n00:03.000 --> 00:04.000\n再见，\n2024 年见\n"
ASS = "[Script Info]\nTitle: x\n\n[Events]\nFormat: Layer, Start\nDialogue: 0,0:00:01.00,0:00:02.00,Default,,0,0,0,,{\\an8}你好\nDialogue: 0,0:00:03.00,0:00:04.00,Default,,0,0,0,,再见，\\N2024 年见\n"  # fmt: skip
LRC = "[ti:歌]\n[ar:人]\n[00:12.50]你好\n[00:18.20][01:20.10]再见，\n[00:25]2024 年见\n"


@pytest.mark.parametrize(("name", "text"), [("a.srt", SRT), ("a.vtt", VTT), ("a.ass", ASS), ("a.lrc", LRC)])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_subtitles_give_what_is_said(tmp_path: Path, name: str, text: str, end: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline=end)
    assert documents(tmp_path / name) == ["你好\n再见，\n2024 年见"]
    if name != "a.ass":
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8", newline=end)
        assert documents(tmp_path / f"{name}.txt") == ["你好\n再见，\n2024 年见"]


def test_prose_with_times_and_brackets_is_no_subtitles(book: list[str]) -> None:
    for text in (*book, "1\n第一章\n[00:12] 他说。\n他又说。\n", "[注] 这是注。\n[1] 又一条。\n", "12:30:00\n出发\n"):
        assert not is_subtitles(text)
    assert spoken(SRT).count("\n") == 2


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_parquet_file_with_flipped_bits_is_read_or_refused(seed: int) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    chance, sink = Random(seed), pyarrow.BufferOutputStream()
    parquet.write_table(pyarrow.table({"text": ROWS * 30}), sink)
    data = bytearray(sink.getvalue().to_pybytes())
    for _ in range(chance.choice((1, 1, 3, 30))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.parquet")
        path.write_bytes(data)
        try:
            documents(path)
        except UserError as error:
            assert "a.parquet" in str(error)
