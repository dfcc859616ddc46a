"""Other tools' token files -> shards, without tokenising again; or shards -> other tools' token files.

python convert_shards.py --input data/tokenized_old/ --tokenizer_path cache/vocab_small.txt --output data/tokenized/
python convert_shards.py --input data/tokenized/ --export nanogpt --output data/nanogpt/
"""

import gpt2zh.needs  # noqa: F401

# isort: split

from collections.abc import Sequence

from gpt2zh.console import command_line
from gpt2zh.errors import run_script, say
from gpt2zh.flags.convert_shards import ConvertFlags, convert_shards_flags
from gpt2zh.flags.train import train_flags
from gpt2zh.shards.convert import export_shards, import_shards
from gpt2zh.shards.format import open_shards
from gpt2zh.shards.token_files import find_token_files
from tokenizations.loading import load_tokenizer


def main(argv: Sequence[str] | None = None) -> None:
    flags = convert_shards_flags(argv)
    (import_ if flags.export is None else export)(flags)


def import_(flags: ConvertFlags) -> None:
    """Files of ids to shards, and the command that trains on them."""
    files = find_token_files(flags.input)
    tokenizer = load_tokenizer(flags.vocabulary.tokenizer_path)
    import_shards(
        files,
        flags.output,
        tokenizer,
        flags.documents.min_length,
        flags.documents.val_ratio,
        flags.documents.num_pieces,
    )

    data = open_shards(flags.output)
    documents = data.manifest.documents
    say(
        f"文章 {documents.read} 篇：训练 {documents.train}，验证 {documents.val}，短于 {flags.documents.min_length} 字不收 {documents.too_short}",
        f"{documents.read} documents: {documents.train} for training, {documents.val} for validation, {documents.too_short} left out as shorter than {flags.documents.min_length} characters",
    )
    say(
        f"词元：训练 {len(data.train)}，验证 {len(data.val)}；已写入 {flags.output}",
        f"tokens: {len(data.train)} for training, {len(data.val)} for validation; written to {flags.output}",
    )
    command = training_command(flags)
    say("用它训练：", f"train on them: {command}")


def training_command(flags: ConvertFlags) -> str:
    """The command line of train.py that takes the shards as they are."""
    defaults = train_flags([])
    words = [
        "python",
        "train.py",
        "--tokenized_data_path",
        flags.output,
        "--tokenizer_path",
        flags.vocabulary.tokenizer_path,
    ]
    for name in ("min_length", "val_ratio"):
        if getattr(flags.documents, name) != getattr(defaults.documents, name):
            words += [f"--{name}", getattr(flags.documents, name)]
    if defaults.corpus.raw_data_path.exists():  # a corpus that is there would be tokenised in place of these shards
        words += ["--raw_data_path", "none"]
    return command_line(words)


def export(flags: ConvertFlags) -> None:
    """Shards to files of ids."""
    assert flags.export is not None
    data = open_shards(flags.input)
    names = export_shards(data, flags.output, flags.export)
    shown = " ".join(names if len(names) < 4 else [names[0], "…", names[-1]])
    say(
        f"已写入 {flags.output}：{shown}（训练 {len(data.train)} 个词元，验证 {len(data.val)}）；词表大小与指纹在 meta.json",
        f"written to {flags.output}: {shown} ({len(data.train)} tokens for training, {len(data.val)} for validation); meta.json has the vocabulary's size and fingerprint",
    )


if __name__ == "__main__":
    run_script(main)
