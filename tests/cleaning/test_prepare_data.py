"""prepare_data.py as a user runs it: any files in, a corpus and a report out; bad files end in one message or a count."""

import contextlib
import gzip
import io
import json
import os
import re
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import ROOT, call

from gpt2zh.errors import run_script

AD = "请收藏本站：http://www.example.com 最新章节"


@dataclass(frozen=True)
class Done:
    """How a run of the script ended."""

    returncode: int
    stdout: str
    stderr: str


def run(folder: Path, *arguments: object) -> Done:
    """`python prepare_data.py arguments` in `folder`, in this process."""
    out, err, code = io.StringIO(), io.StringIO(), 0
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            run_script(lambda: call("prepare_data.py", *arguments))
        except SystemExit as end:
            code = end.code
    return Done(code, out.getvalue(), err.getvalue())


def run_as_user(folder: Path, *arguments: object, limit: int | None = None) -> Done:
    """The same in a process of its own; `limit` is the longest file that it may write, in bytes."""

    def restrict() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    done = subprocess.run(
        [sys.executable, str(ROOT / "prepare_data.py"), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONUTF8": "1", "HF_HUB_OFFLINE": "1"},
        preexec_fn=restrict if limit else None,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def prepared(folder: Path, *arguments: object, output: str = "out.json") -> list[str]:
    done = run(folder, *arguments, "--output", output)
    assert done.returncode == 0, done.stderr
    return json.loads((folder / output).read_text(encoding="utf-8"))


@pytest.fixture
def chapters(book: list[str]) -> list[str]:
    """Six chapters of the shipped book, each with a heading of a novel."""
    texts = [document for document in book if 2000 < len(document) < 6000][:6]
    numerals = "一二三四五六"
    return [
        f"第{numerals[i]}章 {text.splitlines()[0]}\n" + "\n".join(text.splitlines()[1:]) for i, text in enumerate(texts)
    ]


def dirty(chapters: list[str]) -> str:
    """The chapters as a website gives them: indents, blank lines, advertisements, CRLF, a zero-width character."""
    pages = [chapter.replace("\n", "\n\n　　") + f"\n\n{AD}\n\n（本章完）\n" for chapter in chapters]
    return "\n".join(pages).replace("。", "。\u200b", 3).replace("\n", "\r\n")


def test_one_command_makes_clean_chapters_of_any_encoding_and_format(tmp_path: Path, chapters: list[str]) -> None:
    folder = tmp_path / "小说 目录"
    folder.mkdir()
    (folder / "a 上册.txt").write_bytes(dirty(chapters[:2]).encode("gb18030"))
    (folder / "b.txt.gz").write_bytes(gzip.compress(dirty(chapters[2:4]).encode("utf-16")))
    (folder / "封面.jpg").write_bytes(b"\xff\xd8")
    (folder / "c.json").write_text(json.dumps([{"content": chapters[4]}], ensure_ascii=False), encoding="utf-8-sig")
    (tmp_path / "另一本.jsonl").write_text(json.dumps(chapters[5]) + "\n", encoding="utf-8")
    done = run_as_user(tmp_path, "小说 目录", "另一本.jsonl", "--output", "data/train.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "data" / "train.json").read_text(encoding="utf-8")) == chapters
    assert "gb18030" in done.stdout and "utf-16" in done.stdout and ".jpg 1" in done.stdout
    report = (tmp_path / "data" / "train_report.md").read_text(encoding="utf-8")
    assert all(
        part in report for part in ("a 上册.txt", "gb18030", "advertisements", "example.com", "chapter_ends", "本章完")
    )
    assert not [path for path in (tmp_path / "data").iterdir() if path.name.startswith(".")]


def test_preparing_what_was_prepared_changes_nothing(tmp_path: Path, chapters: list[str]) -> None:
    (tmp_path / "a.txt").write_bytes(dirty(chapters).encode("big5hkscs", "ignore"))
    once = prepared(tmp_path, "a.txt")
    assert len(once) == len(chapters)
    assert prepared(tmp_path, "out.json", "--split_chapters", "always", output="again.json") == once


def test_copies_are_dropped_once_and_named(tmp_path: Path, chapters: list[str]) -> None:
    changed = chapters[1].replace("。", "！", 5).replace("我", "吾", 2)
    (tmp_path / "a.json").write_text(json.dumps([*chapters, chapters[0], changed]), encoding="utf-8")
    assert prepared(tmp_path, "a.json") == chapters
    report = (tmp_path / "out_report.md").read_text(encoding="utf-8")
    assert "| exact | 1.00 |" in report and "| near | " in report
    assert len(prepared(tmp_path, "a.json", "--near_duplicates", 0, "--paragraph_length", 0)) == len(chapters) + 1
    assert len(prepared(tmp_path, "a.json", "--keep_duplicates", "--paragraph_length", 0)) == len(chapters) + 2


def test_every_character_that_cleaning_left_is_accounted_for(tmp_path: Path, chapters: list[str]) -> None:
    mixed = "\n".join(["第九章", "新的一段。" * 2000, *chapters[0].split("\n")[1:4]])
    _write(tmp_path / "a.txt", "\n".join([*chapters, chapters[1], mixed, "第十章", "短。"]))
    text = prepared(tmp_path, "a.txt", "--min_length", 20)
    row = next(
        line
        for line in (tmp_path / "out_report.md").read_text(encoding="utf-8").splitlines()
        if line.startswith("| a.txt")
    )
    read, cleaned, duplicates, paragraphs, short, n_kept, kept = map(int, re.findall(r"\| (\d+)(?= )", row)[1:])
    assert read >= cleaned == duplicates + paragraphs + short + kept
    assert min(duplicates, paragraphs, short) > 0 and (n_kept, kept) == (len(text), sum(map(len, text)))


def test_what_an_earlier_run_wrote_into_the_folder_is_no_input(tmp_path: Path, chapters: list[str]) -> None:
    (tmp_path / "in").mkdir()
    _write(tmp_path / "in" / "a.txt", "\n".join(chapters))
    once = prepared(tmp_path, "in", "in/a.txt", "--val_ratio", 0.2, output="in/train.json")
    assert prepared(tmp_path, "in", "--val_ratio", 0.2, output="in/train.json") == once
    assert "a.txt" in (report := (tmp_path / "in" / "train_report.md").read_text(encoding="utf-8"))
    assert "train_report.md" not in report and "train_val" not in report
    assert prepared(tmp_path, "in", output="other.json") == chapters  # and the report is not read


def test_a_copy_stays_where_its_original_goes_for_another_reason(tmp_path: Path, chapters: list[str]) -> None:
    short, longer = chapters[0][:110], chapters[0][:122]
    (tmp_path / "a.json").write_text(json.dumps([short, longer, longer + "！"]), encoding="utf-8")
    assert prepared(tmp_path, "a.json", "--min_length", 115) == [longer]


def test_validation_is_chosen_among_what_is_long_enough(tmp_path: Path, chapters: list[str]) -> None:
    (tmp_path / "a.json").write_text(
        json.dumps([*(f"第{i}条短讯，不收。" for i in range(3000)), *chapters]), encoding="utf-8"
    )
    train = prepared(tmp_path, "a.json", "--min_length", 100, "--val_ratio", 0.25)
    val = _read(tmp_path / "out_val.json")
    assert val and sorted([*train, *val]) == sorted(chapters)
    done = run(tmp_path, "a.json", "--min_length", 100, "--output", "out.json")
    assert "以前的验证集" in done.stdout and _read(tmp_path / "out.json") == chapters


def test_a_missing_text_of_a_data_set_is_an_empty_one(tmp_path: Path) -> None:
    _write(tmp_path / "a.jsonl", '{"text": "风起"}\n{"text": null}\n{"text": "云涌"}\n')
    assert prepared(tmp_path, "a.jsonl") == ["风起", "云涌"]


def test_a_file_of_which_little_is_left_is_named(tmp_path: Path, chapters: list[str]) -> None:
    _write(
        tmp_path / "a.html", f"<p>{chapters[0][:500]}</p><p><b><i>x</i></b></p><script>{'var a = 1;' * 900}</script>"
    )
    _write(tmp_path / "b.txt", dirty(chapters))
    done = run(tmp_path, "a.html", "b.txt", "--output", "out.json")
    assert "a.html 清洗后只剩" in done.stdout and "b.txt 清洗后只剩" not in done.stdout


def test_a_rule_can_be_switched_off(tmp_path: Path, chapters: list[str]) -> None:
    (tmp_path / "a.txt").write_text(dirty(chapters), encoding="utf-8")
    assert "本章完" not in "".join(prepared(tmp_path, "a.txt"))
    assert "本章完" in "".join(prepared(tmp_path, "a.txt", "--skip_rules", "chapter_ends"))
    done = run(tmp_path, "a.txt", "--skip_rules", "nosuch")
    assert done.returncode == 2 and "nosuch" in done.stderr and "chapter_ends" in done.stderr


def test_large_corpora_as_jsonl_with_a_validation_file(tmp_path: Path, book: list[str]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(book), encoding="utf-8")
    done = run(tmp_path, "a.json", "--output", "x/train.jsonl", "--val_ratio", 0.1)
    assert done.returncode == 0, done.stderr
    train, val = (
        [json.loads(line)["text"] for line in (tmp_path / "x" / name).read_text(encoding="utf-8").splitlines()]
        for name in ("train.jsonl", "train_val.jsonl")
    )
    assert len(train) + len(val) == len(book) and not set(train) & set(val)
    assert 0.05 < sum(map(len, val)) / sum(map(len, book)) < 0.11


def test_workers_give_what_one_process_gives(tmp_path: Path, book: list[str]) -> None:
    one = prepared(tmp_path, *[_write(tmp_path / f"{i}.txt", text) for i, text in enumerate(book[:30])])
    big = _write(tmp_path / "big.txt", "\n".join(f"{i}{'春江潮水连海平' * 9}" for i in range(24_000)))
    assert big.stat().st_size > 4_000_000  # what makes prepare_data.py start workers
    done = run_as_user(tmp_path, *[f"{i}.txt" for i in range(30)], "big.txt", "--output", "many.json")
    assert done.returncode == 0 and _read(tmp_path / "many.json")[: len(one)] == one


def _read(path: Path) -> list[str]:
    return json.loads(path.read_text(encoding="utf-8"))


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_traditional_becomes_simplified_on_request(tmp_path: Path) -> None:
    _write(tmp_path / "a.txt", "開門見山，這個國家的歷史。" * 9)
    assert prepared(tmp_path, "a.txt", "--convert", "t2s")[0].startswith("开门见山，这个国家的历史。")


@pytest.mark.slow
def test_parquet_and_saved_data_sets(tmp_path: Path, chapters: list[str]) -> None:
    datasets = pytest.importorskip("datasets")
    data = datasets.Dataset.from_dict({"title": ["x"] * 6, "text": chapters})
    data.to_parquet(tmp_path / "a.parquet")
    data.save_to_disk(tmp_path / "saved")
    assert prepared(tmp_path, "a.parquet") == chapters
    assert prepared(tmp_path, "saved") == chapters
    done = run_as_user(tmp_path, "hf:nobody/no-such-data-set", "--output", "x.json")
    assert done.returncode == 2 and "no-such-data-set" in done.stderr and "Traceback" not in done.stderr


BAD = {
    "a.pdf.txt": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n1 0 obj",
    "zip.txt": b"PK\x03\x04" + bytes(range(256)) * 9,
    "cut.json": '["第一章，风起", "第二章，雪'.encode(),
    "shape.json": b'[1, 2, {"title": "x"}]',
    "deep.json": b'["' + b"a" * 99 + b'", ' + b"[" * 99_999,
    "half.txt.gz": gzip.compress("好".encode() * 9999)[:-9],
    "cut.parquet": b"PAR1abc",
    "line.jsonl": '{"text": "好"}\n{"title": "好"}\n'.encode(),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_file_is_an_error_when_named_and_a_line_in_the_report_in_a_folder(
    tmp_path: Path, chapters: list[str], name: str
) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes(BAD[name])
    done = run(tmp_path, f"in/{name}", "--output", "out.json")
    assert done.returncode == 2 and name in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.json").exists()
    _write(tmp_path / "in" / "good.txt", "\n".join(chapters))
    done = run(tmp_path, "in", "--output", "out.json")
    assert done.returncode == 0 and f"没有读完 in/{name}" in done.stdout.replace("\\", "/")
    assert set(chapters) <= set(json.loads((tmp_path / "out.json").read_text(encoding="utf-8")))
    assert name in (tmp_path / "out_report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nosuch.txt"], "nosuch.txt"),
        (["empty"], "empty"),
        (["a.txt", "--output", "in.txt/x.json"], "in.txt"),
        (["a.txt", "--near_duplicates", "0.2"], "near_duplicates"),
        (["blank.txt"], "没有留下任何文字"),
        (["zero.json"], "空文件"),
        (["a.txt", "--output", "a.txt"], "--output a.txt"),
        (["b.json", "--output", "b.json"], "既是输入又要被写"),
        (["a.txt", "--report", "data/train.json"], "不同的文件"),
    ],
)
def test_mistakes_end_with_exit_code_2_and_one_message(tmp_path: Path, arguments: list[str], words: str) -> None:
    (tmp_path / "empty").mkdir()
    for name, text in {
        "a.txt": "风起",
        "b.json": '["风起"]',
        "in.txt": "",
        "blank.txt": " \n　\n",
        "zero.json": "",
    }.items():
        _write(tmp_path / name, text)
    done = run(tmp_path, *arguments)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr, done.stderr


def test_odd_characters_cost_themselves_alone(tmp_path: Path) -> None:
    text = "风\0起[CLS]云涌[SEP]\ud800大江东去。" * 20
    (tmp_path / "a.json").write_text(json.dumps([text]), encoding="utf-8")
    assert prepared(tmp_path, "a.json") == ["风起[CLS]云涌[SEP]大江东去。" * 20]
    broken = ("大江东去，浪淘尽，千古风流人物。\n" * 20).encode("gb18030")
    (tmp_path / "b.txt").write_bytes(broken[:100] + b"\xff" + broken[100:-2])
    done = run(tmp_path, "b.txt", "--paragraph_length", 0)
    assert done.returncode == 0 and "个字符损坏" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
def test_a_full_disk_leaves_the_old_corpus(tmp_path: Path, book: list[str]) -> None:
    _write(tmp_path / "a.json", json.dumps(book))
    _write(tmp_path / "out.json", '["旧的"]')
    done = run_as_user(tmp_path, "a.json", "--output", "out.json", limit=100_000)
    assert done.returncode == 3 and "磁盘" in done.stderr and "Traceback" not in done.stderr
    assert (tmp_path / "out.json").read_text(encoding="utf-8") == '["旧的"]'
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "out.json"]


@pytest.mark.skipif(sys.platform == "win32", reason="ru_maxrss")
def test_a_list_larger_than_memory_is_read_in_little(tmp_path: Path, book: list[str]) -> None:
    with (tmp_path / "a.json").open("w", encoding="utf-8") as file:
        body = ",\n".join(json.dumps(document, ensure_ascii=False) for document in book)
        file.write("[" + ",\n".join([body] * 150) + "]")
    code = f"""
import resource, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from gpt2zh.text.corpus import Corpus
corpus = Corpus(Path("a.json"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n = sum(1 for _ in corpus)
print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    n_documents, growth = map(int, done.stdout.split())
    assert n_documents == 150 * len(book) and growth < 60_000  # KiB; the file has 110 MiB
