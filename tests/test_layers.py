"""The house as docs/architecture.md draws it: who may import whom, one owner for each word, nothing too long."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

LAYERS = {
    0: {"errors", "files", "folders", "workers", "memory", "shape"},
    1: {
        "flags", "model_flags", "command_line", "runlog", "recipe", "prefetch", "lifeline", "lock", "resume", "spikes", "stopping",
        "samples", "screen", "interactive", "text_stream", "loops",
        "encodings", "json_stream", "corpus", "hub", "corpus_writer",
        "cleaning", "cleaning_advertising", "cleaning_markup", "cleaning_layout", "cleaning_edits", "chapters", "duplicates",
        "preparation", "preparation_report",
        "vocabulary", "pipelines", "character_table", "alphabet", "lattice", "tokenizer", "loading",
        "sentencepiece_model", "subwords", "words", "thulac_decoder", "thulac_model",
    },
    2: {"shards", "shard_plan", "shard_builder", "token_files", "shard_conversion", "batches"},
    3: {"device", "processes", "model", "attention", "forward", "loss", "optim", "throughput", "microbatch", "rehearsal", "checkpoint", "run_state", "weights", "packed", "native", "native_decoder", "torch_decoder", "decoder", "logits", "draft", "sampling", "evaluation"},
}  # fmt: skip
SIBLINGS = {
    ("files", "errors"), ("shape", "errors"), ("shape", "files"), ("folders", "files"), ("folders", "errors"), ("workers", "errors"), ("flags", "command_line"), ("model_flags", "command_line"), ("model_flags", "flags"), ("screen", "samples"), ("corpus", "encodings"), ("corpus", "json_stream"), ("hub", "corpus"),
    ("cleaning", "cleaning_advertising"), ("cleaning", "cleaning_layout"), ("cleaning", "cleaning_markup"), ("cleaning", "cleaning_edits"),
    ("cleaning_advertising", "cleaning_edits"), ("cleaning_markup", "cleaning_edits"), ("cleaning_layout", "cleaning_edits"), ("cleaning_layout", "cleaning_markup"), ("cleaning_layout", "chapters"),
    ("preparation", "cleaning"), ("preparation", "chapters"), ("preparation", "duplicates"),
    ("preparation_report", "preparation"), ("preparation_report", "cleaning"), ("preparation_report", "corpus"),
    ("preparation_report", "duplicates"),
    ("tokenizer", "pipelines"), ("tokenizer", "vocabulary"), ("tokenizer", "character_table"), ("tokenizer", "lattice"),
    ("pipelines", "vocabulary"), ("lattice", "alphabet"), ("lattice", "pipelines"), ("lattice", "vocabulary"),
    ("loading", "tokenizer"), ("loading", "pipelines"), ("loading", "vocabulary"),
    ("loading", "sentencepiece_model"), ("sentencepiece_model", "pipelines"), ("sentencepiece_model", "vocabulary"),
    ("subwords", "pipelines"), ("subwords", "vocabulary"),
    ("words", "thulac_decoder"), ("words", "pipelines"), ("words", "vocabulary"), ("thulac_decoder", "thulac_model"),
    ("batches", "shards"), ("shard_plan", "shards"), ("shard_builder", "shard_plan"), ("shard_builder", "shards"),
    ("shard_conversion", "shards"), ("shard_conversion", "shard_plan"), ("shard_conversion", "shard_builder"),
    ("shard_conversion", "token_files"),
    ("forward", "attention"), ("loss", "forward"), ("throughput", "device"), ("evaluation", "device"),
    ("processes", "device"), ("processes", "lifeline"),
    ("checkpoint", "run_state"), ("rehearsal", "device"),
    ("decoder", "device"), ("decoder", "native"), ("decoder", "native_decoder"), ("decoder", "torch_decoder"), ("decoder", "weights"),
    ("native_decoder", "native"), ("torch_decoder", "device"), ("torch_decoder", "packed"), ("model", "weights"),
    ("sampling", "decoder"), ("sampling", "device"), ("sampling", "logits"), ("sampling", "draft"), ("draft", "logits"), ("draft", "loops"),
    ("microbatch", "device"), ("microbatch", "optim"),
}  # fmt: skip
LIBRARY = sorted([*(ROOT / "gpt2zh").glob("*.py"), *(ROOT / "tokenizations").glob("*.py")])
SCRIPTS = [
    ROOT / name
    for name in (
        "prepare_data.py",
        "train.py",
        "generate.py",
        "evaluate.py",
        "convert_shards.py",
        "cache/make_vocab.py",
        "cache/make_vocab_small.py",
    )
]
HEAVY = {"torch", "transformers", "tensorboardX", "thulac", "jieba", "rensa", "opencc", "datasets", "pyarrow"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{alias.name}" if node.module == "gpt2zh" else node.module for alias in node.names}
    return found


def own(names: set[str]) -> set[str]:
    return {name.split(".")[1] for name in names if re.match(r"(gpt2zh|tokenizations)\.", name)}


def layer_of(module: str) -> int:
    return next(layer for layer, modules in LAYERS.items() if module in modules)


@pytest.mark.parametrize("path", [path for path in LIBRARY if path.name != "__init__.py"], ids=lambda path: path.stem)
def test_modules_import_errors_files_and_drawn_siblings_only(path: Path) -> None:
    for imported in own(imports(path)):
        assert layer_of(imported) == 0 < layer_of(path.stem) or (path.stem, imported) in SIBLINGS, (
            f"{path.stem} imports {imported}"
        )


@pytest.mark.parametrize(
    "path", [path for path in [*LIBRARY, *SCRIPTS] if path.stem not in LAYERS[3]], ids=lambda path: path.stem
)
def test_all_but_the_torch_layer_starts_without_torch(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path, top_level_only=True)} & HEAVY


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_no_script_imports_a_script(path: Path) -> None:
    assert not {name.split(".")[0] for name in imports(path)} & {script.stem for script in SCRIPTS}


@pytest.mark.parametrize(
    ("word", "owner"),
    [
        (r"\.cuda\b|\bDataParallel\(|\.DataParallel\(", "device.py"),
        (r"(import|from) torch\.distributed|DistributedDataParallel\(", "processes.py"),
        (r"\.add_argument\(", "command_line.py"),
        (r"sys\.exit\(", "errors.py"),
        (r"\"\[(SEP|CLS|MASK)\]\"", "vocabulary.py"),
    ],
)
def test_each_word_has_one_owner(word: str, owner: str) -> None:
    assert [path.name for path in [*LIBRARY, *SCRIPTS] if re.search(word, path.read_text(encoding="utf-8"))] == [owner]


# Some are long on purpose: the tables of flags, and the story that train.py tells.
LONG = {"flags.py", "model_flags.py", "train.py"}


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS], ids=lambda path: path.stem)
def test_files_and_functions_stay_short_enough_to_read(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= (700 if path.name in LONG else 320)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and path.name not in LONG:
            assert node.end_lineno - node.lineno < 60, node.name


@pytest.mark.parametrize("path", [*LIBRARY, *SCRIPTS], ids=lambda path: path.stem)
def test_text_files_are_always_opened_as_utf8(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("open", "read_text", "write_text")
            and ast.unparse(node.func) not in ("os.open", "gzip.open")
        ):
            keywords = {keyword.arg for keyword in node.keywords}
            binary = any(isinstance(argument, ast.Constant) and "b" in str(argument.value) for argument in node.args)
            assert binary or "encoding" in keywords, f"{path.name}:{node.lineno}"


def test_importing_the_data_side_loads_no_torch() -> None:
    modules = "gpt2zh.flags gpt2zh.corpus gpt2zh.runlog gpt2zh.duplicates gpt2zh.shards gpt2zh.batches gpt2zh.processes tokenizations.tokenizer tokenizations.words".split()
    code = f"import sys, {', '.join(modules)}; print([name for name in {sorted(HEAVY)!r} if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
