"""What a document is in a .txt: guessed where the signs are clear, said, and as the command line has it."""

import json
import random
from pathlib import Path

import pytest
from conftest import ROOT, call

from gpt2zh.cleaning.documents import Unit, guessed

BOOK = json.loads((ROOT / "data" / "example.json").read_text(encoding="utf-8"))
STANZA = "村口的老槐树下\n坐着三个人\n一个抽烟\n一个补网\n一个望着河面"
ASKED = [
    "吃饭了吗",
    "你在干嘛呢",
    "明天一起去好吗？",
    "真的假的",
    "我也是",
    "早点睡吧",
    "哈哈哈",
    "亲我一口就给你看",
    "我刚下班",
    "好无聊啊",
]


def dialogues(seed: int, named: bool) -> str:
    chance = random.Random(seed)
    blocks = []
    for _ in range(60):
        turns = [
            chance.choice(ASKED) + str(chance.randrange(9)) * chance.randrange(2) for _ in range(chance.randint(2, 7))
        ]
        blocks.append("\n".join(f"{'甲乙'[i % 2]}：{turn}" if named else turn for i, turn in enumerate(turns)))
    return "\n\n".join(blocks) + "\n"


def in_lines(documents: list[str]) -> str:
    return "\n".join(document.replace("\n", "") for document in documents) + "\n"


ESSAYS = in_lines([document for document in BOOK if document.endswith("。")] * 2)


@pytest.mark.parametrize(
    ("text", "documents"),
    [
        (ESSAYS, "lines"),
        (ESSAYS.replace("\n", "\n\n"), "lines"),
        (dialogues(1, named=False), "paragraphs"),
        (dialogues(2, named=True), "paragraphs"),
        (dialogues(3, named=False).replace("\n\n", "\n"), "file"),  # nothing parts them
        ("\n\n".join([STANZA] * 40), "file"),
        ("\n\n".join(BOOK), "file"),
        ("\n".join(BOOK), "file"),
        (in_lines(BOOK[:9]), "file"),  # too few to know
        ((ROOT / "README.md").read_text(encoding="utf-8"), "file"),
        (json.loads((ROOT / "data/shakespeare.json").read_text(encoding="utf-8"))[0], "file"),
    ],
)
def test_only_clear_signs_part_a_file(text: str, documents: Unit) -> None:
    assert guessed(text) == documents


def test_no_chapter_is_parted() -> None:
    for document in BOOK:
        assert guessed(document) == guessed(document.replace("\n", "\n\n")) == "file"


def prepared(name: str, *flags: str) -> list[str]:
    call("prepare_data.py", name, "--output", "out.json", "--near_duplicates", 0, "--paragraph_length", 0, *flags)
    return json.loads(Path("out.json").read_text(encoding="utf-8"))


def test_a_guess_is_said_and_can_be_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = dialogues(4, named=False)
    Path("talk.txt").write_text(text.replace("\n", "\r\n"), encoding="utf-8")
    found = prepared("talk.txt", "--keep_duplicates")
    assert "\n\n".join(found) + "\n" == text and len(found) == 60
    assert (
        "talk.txt: it seems that each block between blank lines is a document, so it is cut into 60"
        in capsys.readouterr().out
    )
    assert len(prepared("talk.txt", "--documents", "file")) == 1
    assert "it seems" not in capsys.readouterr().out


def test_what_is_said_is_done_and_guesses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("few.txt").write_text("第一章\n风起。\n\n第二章\n云涌。\n", encoding="utf-8")
    assert prepared("few.txt", "--documents", "lines") == ["第一章", "风起。", "第二章", "云涌。"]
    assert prepared("few.txt", "--documents", "paragraphs") == ["第一章\n风起。", "第二章\n云涌。"]
    Path("few.json").write_text(json.dumps(["一行\n又一行"]), encoding="utf-8")
    assert prepared("few.json", "--documents", "lines") == ["一行\n又一行"]  # an entry is a document already
