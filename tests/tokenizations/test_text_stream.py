"""Text that is shown as its ids come, at a cost in proportion to it."""

import json
from pathlib import Path

import pytest
from conftest import ROOT, call
from tokenizers import Tokenizer as Pipeline

from tokenizations.loading import load_tokenizer
from tokenizations.text_stream import TextStream


class Counted:
    """A pipeline that counts the ids that it is asked to decode."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline, self.n_ids = pipeline, 0

    def decode(self, ids: list[int], skip_special_tokens: bool) -> str:
        self.n_ids += len(ids)
        return self.pipeline.decode(ids, skip_special_tokens)


@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_streaming_a_long_english_text_takes_time_in_proportion(tmp_path: Path, kind: str) -> None:
    play = json.loads((ROOT / "data/shakespeare.json").read_text(encoding="utf-8"))[0].replace("\n", " ")
    if kind == "bytes":
        (tmp_path / "c.json").write_text(json.dumps([play[:20000]]), encoding="utf-8")
        files = ["--raw_data_path", tmp_path / "c.json", "--vocab_file", tmp_path / "v.json"]
        call("cache/make_vocab.py", "--type", "bpe", "--vocab_size", 600, *files)
        pipeline = load_tokenizer(tmp_path / "v.json").pipeline
        text = play[20000:24000] + "𠮷é龘" * 50 + play[:3000]
    else:
        pipeline, text = load_tokenizer(ROOT / "cache/vocab_small.txt").pipeline, play[:7000]
    ids = pipeline.encode(text).ids
    counted = Counted(pipeline)
    stream = TextStream(counted)
    assert "".join(map(stream.push, ids)) == pipeline.decode(ids, skip_special_tokens=False)
    assert len(ids) > 1500 and counted.n_ids < 70 * len(ids)
