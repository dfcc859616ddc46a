"""The command line: the ancestor's flags with their names, frozen; every problem in one message; --help at once."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from conftest import ROOT

from gpt2zh.errors import UserError
from gpt2zh.flags.command_line import flags_of, named_values
from gpt2zh.flags.convert_shards import convert_shards_flags
from gpt2zh.flags.evaluate import evaluate_flags
from gpt2zh.flags.generate import generate_flags
from gpt2zh.flags.make_vocab import make_vocab_flags
from gpt2zh.flags.page import SCRIPTS
from gpt2zh.flags.prepare_data import prepare_data_flags
from gpt2zh.flags.train import train_flags

PARSERS = {"train_flags": train_flags, "generate_flags": generate_flags, "make_vocab_flags": make_vocab_flags}
ANCESTOR = {
    "train_flags": "device model_config tokenizer_path raw_data_path tokenized_data_path raw epochs batch_size lr warmup_steps log_step stride gradient_accumulation fp16 fp16_opt_level max_grad_norm num_pieces min_length output_dir pretrained_model writer_dir segment bpe_token encoder_json vocab_bpe",
    "generate_flags": "device length batch_size nsamples temperature topk topp model_config tokenizer_path model_path prefix no_wordpiece segment fast_pattern save_samples save_samples_path repetition_penalty",
    "make_vocab_flags": "raw_data_path vocab_file vocab_size",
}
OURS = {
    "train_flags": "val_ratio schedule weight_decay seed precision recipe optimizer betas max_steps eval_every compile gradient_checkpointing shard_model peer_timeout resume save_every keep_last max_hours dry_run early_stop keep_epochs ngram_order label_smoothing input_noise",
    "generate_flags": "seed precision quantize compile raw_prefix sentences finish_sentence ignore_end stop ban bias top_n_sigma xtc_probability xtc_threshold dry_multiplier dry_base dry_allowed_length titles titles_file articles_per_title interactive all_epochs greedy min_p typical_p presence_penalty frequency_penalty penalty_window no_repeat_ngram keep_loops num_beams stream save_json prefix_file",
    "make_vocab_flags": "type segmenter verbatim character_coverage sample_characters special_tokens patch_vocab min_length val_ratio",
    "prepare_data_flags": "documents text_key inputs output report skip_rules split_chapters convert near_duplicates keep_duplicates paragraph_length min_length val_ratio",
    "evaluate_flags": "model_path raw_data_path tokenized_data_path tokenizer_path segment batch_size stride ngrams device precision",
    "convert_shards_flags": "input output export tokenizer_path segment num_pieces min_length val_ratio",
}
ANCESTOR_DEFAULTS = {
    "train_flags": {"epochs": 5, "batch_size": 8, "log_step": 1, "gradient_accumulation": 1, "max_grad_norm": 1.0, "num_pieces": 100, "min_length": 128, "raw": False, "fp16": False},
    "generate_flags": {"length": -1, "batch_size": 1, "nsamples": 10, "temperature": 1.0, "prefix": "萧炎", "save_samples": False},
}  # fmt: skip


@pytest.mark.parametrize("parser", ["train_flags", "generate_flags", "make_vocab_flags"])
def test_the_flags_are_the_ancestors_and_ours_and_no_others(parser: str) -> None:
    expected = {*ANCESTOR[parser].split(), *OURS[parser].split()}
    assert set(named_values(PARSERS[parser]([]))) == expected
    assert len(ANCESTOR["train_flags"].split()) == 25 and len(ANCESTOR["generate_flags"].split()) == 17


def test_evaluate_has_these_flags_and_wants_one_source() -> None:
    assert set(named_values(evaluate_flags(["--raw_data_path", "a"]))) == set(OURS["evaluate_flags"].split())
    for argv in ([], ["--raw_data_path", "a", "--tokenized_data_path", "b"]):
        with pytest.raises(UserError, match="--tokenized_data_path"):
            evaluate_flags(argv)


def test_prepare_data_has_these_flags_and_knows_its_rules() -> None:
    parsed = prepare_data_flags(["a", "b", "c"], ["none", "t2s"], ["x.txt", "y", "--skip_rules", "a，c"])
    assert set(named_values(parsed)) == set(OURS["prepare_data_flags"].split())
    assert parsed.inputs == ["x.txt", "y"] and parsed.skip_rules == ("a", "c")


def test_convert_shards_has_these_flags_and_trains_defaults() -> None:
    parsed = named_values(convert_shards_flags("--input a --output b".split()))
    assert set(parsed) == set(OURS["convert_shards_flags"].split())
    shared = ("tokenizer_path", "segment", "num_pieces", "min_length", "val_ratio")
    assert {name: parsed[name] for name in shared} == {name: named_values(train_flags([]))[name] for name in shared}
    with pytest.raises(UserError, match="--input"):
        convert_shards_flags(["--output", "b"])


@pytest.mark.parametrize("parser", sorted(ANCESTOR_DEFAULTS))
def test_defaults_are_the_ancestors(parser: str) -> None:
    parsed = named_values(PARSERS[parser]([]))
    assert {name: parsed[name] for name in ANCESTOR_DEFAULTS[parser]} == ANCESTOR_DEFAULTS[parser]


ALIASES = {
    "prepare_data.py": {"text_key": "text_column"},
    "generate.py": {"prefix": "prompt", "length": "max_new_tokens", "nsamples": "num_samples", "save_samples_path": "save_path", "topk": "top_k", "topp": "top_p"},
}  # fmt: skip


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_the_second_names_of_flags_are_these(script: str) -> None:
    aliases = {one.name: one.declaration.aliases for one in flags_of(SCRIPTS[script]) if one.declaration.aliases}
    assert aliases == {name: (alias,) for name, alias in ALIASES.get(script, {}).items()}


@pytest.mark.parametrize("script", sorted(SCRIPTS))
def test_defaults_are_in_range_among_the_choices_and_read_from_their_own_text(script: str) -> None:
    for one in flags_of(SCRIPTS[script]):
        if one.declaration.form == "value" and one.default is not None:
            allowed = one.declaration.allowed
            assert allowed is None or allowed.holds(one.default), one.name
            assert not one.choices or one.default in one.choices, one.name
            if one.default != ():
                assert one.kind(str(one.default)) == one.default, one.name


def test_the_record_has_greedy_and_temperature_as_given_and_the_settings_have_what_they_mean() -> None:
    flags = generate_flags(["--greedy", "--temperature", "0.5", "--keep_loops"])
    recorded = named_values(flags)
    assert (recorded["greedy"], recorded["temperature"], recorded["keep_loops"]) == (True, 0.5, True)
    assert flags.settings.temperature == 0 and not flags.settings.break_loops


SEED_000 = "--device 0,1 --model_config config/model_config_small.json --tokenizer_path cache/vocab_small.txt --raw_data_path data/train.json --tokenized_data_path data/tokenized_cov512/ --raw --epochs 12 --batch_size 12 --gradient_accumulation 2 --stride 512 --num_pieces 32 --min_length 128 --lr 8e-5 --warmup_steps 3000 --log_step 48 --output_dir model_full_cov512/ --writer_dir runs/full_cov512/"


def test_the_command_of_seed_000_is_read_as_printed() -> None:
    parsed = train_flags(SEED_000.split())
    assert (parsed.steps.batch_size, parsed.steps.stride) == (12, 512)
    assert (parsed.recipe.lr, parsed.recipe.warmup_steps) == (8e-5, 3000)
    assert parsed.output.output_dir.as_posix() == "model_full_cov512" and parsed.corpus.raw


def test_all_problems_are_reported_at_once() -> None:
    with pytest.raises(UserError) as error:
        train_flags("--epochs 0 --lr -1 --val_ratio 0.7 --batch_size 2".split())
    message = str(error.value)
    assert (
        all(part in message for part in ("--epochs 0", "--lr -1.0", "--val_ratio 0.7"))
        and "--batch_size" not in message
    )


def test_the_batch_size_of_training_is_a_whole_number_or_auto() -> None:
    assert train_flags([]).steps.batch_size == 8
    assert train_flags(["--batch_size", "auto"]).steps.batch_size is None
    assert train_flags(["--batch_size", "12"]).steps.batch_size == 12
    for wrong in ("2.5", "Auto", "0"):
        with pytest.raises(UserError, match=f"{wrong}.*auto|--batch_size {wrong}"):
            train_flags(["--batch_size", wrong])
    with pytest.raises(UserError, match="--batch_size"):
        evaluate_flags(["--raw_data_path", "a", "--batch_size", "auto"])


@pytest.mark.parametrize("argv", [["--epoch", "3"], ["--epochs", "many"], ["--nosuch"], ["--precision", "int4"]])
def test_an_unknown_flag_or_value_is_an_error_and_never_a_guess(argv: list[str]) -> None:
    with pytest.raises(UserError, match="--help"):
        train_flags(argv)


@pytest.mark.parametrize(
    ("parser", "argv"),
    [
        ("train_flags", ["--fp16_opt_level", "O1"]),
        ("generate_flags", ["--fast_pattern"]),
        ("generate_flags", ["--no_wordpiece"]),
        ("generate_flags", ["--model_config", "x.json"]),
    ],
)
def test_dead_flags_are_accepted_and_said_to_do_nothing(
    parser: str, argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    PARSERS[parser](argv)
    assert argv[0] in capsys.readouterr().out
    PARSERS[parser]([])
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    "script",
    ["prepare_data.py", "train.py", "generate.py", "evaluate.py", "convert_shards.py", "cache/make_vocab.py"],
)
def test_help_is_in_two_languages_and_imports_no_torch(script: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", script, "--help"],
        cwd=ROOT,
        capture_output=True,
        encoding="utf-8",
        env={"PYTHONUTF8": "1", "COLUMNS": "200", "PATH": ""},
        check=True,
    )
    assert " torch" not in shown.stderr and "transformers" not in shown.stderr
    rows = [line for line in shown.stdout.splitlines() if line.startswith("  --")]
    assert len(rows) > 5
    assert shown.stdout.count(" / ") >= len(rows)


@pytest.mark.parametrize(
    "argv",
    [
        ["--stream", "--batch_size", "4"],
        ["--greedy", "--num_beams", "4"],
        ["--quantize", "int8", "--num_beams", "4"],
        ["--interactive", "--all_epochs"],
        ["--titles", "甲 乙", "--interactive"],
        ["--titles", "甲", "--num_beams", "2"],
    ],
    ids=" ".join,
)
def test_what_does_not_go_together_is_said(argv: list[str]) -> None:
    given = [word for word in argv if word.startswith("--")]
    with pytest.raises(UserError) as error:
        generate_flags(argv)
    assert all(word in str(error.value) for word in given)


@pytest.mark.parametrize(
    "argv",
    [["--nsamples", "0"], ["--topp", "1.5"], ["--length", "0"], ["--min_p", "-1"], ["--presence_penalty", "1000"]],
    ids=" ".join,
)
def test_a_sampling_value_out_of_range_is_named(argv: list[str]) -> None:
    with pytest.raises(UserError, match=f"{argv[0]} {argv[1]}"):
        generate_flags(argv)


@pytest.mark.parametrize(
    ("flags", "line", "most"),
    [
        (make_vocab_flags, "--vocab_size 1000001", "at most a million"),
        (train_flags, "--num_pieces 100001", "at most a hundred thousand"),
        (generate_flags, "--num_beams 1001", "at most a thousand"),
    ],
)
def test_sizes_beyond_any_that_could_be_made_are_refused(
    flags: Callable[[list[str]], object], line: str, most: str
) -> None:
    with pytest.raises(UserError, match=most):
        flags(line.split())
