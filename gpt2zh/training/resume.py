"""A run meets what an earlier one left in its output folder.

`--resume`: the settings of the two are compared by the rule below. Without it the earlier run's files are moved aside.

In: settings by name, as JSON has them; a folder. Out: what changed, for people. Refuses: what would make it another run.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from gpt2zh.console import command_line
from gpt2zh.errors import UserErrors

# What a run is. All else may change between a stop and --resume: learning rate, length, precision, devices, the split of a
# step into micro-batches, log and save intervals. What changed is said.
SAME = {
    "vocabulary": "--tokenizer_path",
    "corpus": "--raw_data_path",
    "min_length": "--min_length",
    "val_ratio": "--val_ratio",
    "stride": "--stride",
    "seed": "--seed",
    "windows_per_step": "--batch_size x --gradient_accumulation",
    "optimizer": "--optimizer",
}
OF_A_RUN = ("metrics.jsonl", "checkpoints", "best_model", "final_model", "model_epoch*")


def compare(
    then: Mapping[str, object], now: Mapping[str, object], same: Mapping[str, str] = SAME
) -> list[tuple[str, str]]:
    """The settings of `now` that were others when the checkpoint was written, a line each.

    Args:
        same: of settings that must be the same, the flags that give them.

    Raises:
        UserErrors: one of these is another.
    """
    different = {name: (then.get(name), value) for name, value in now.items() if then.get(name) != value}
    wrong = [
        (
            f"{same[name]}（{name}）：检查点是 {short(old)}，现在是 {short(new)}。接着训练须用同一个；要改它，请不加 --resume 重新训练。",
            f"{same[name]} ({name}): {short(old)} in the checkpoint, {short(new)} now. A run goes on with the same; to change it, train anew without --resume.",
        )
        for name, (old, new) in different.items()
        if name in same
    ]
    if wrong:
        raise UserErrors(wrong)
    return [
        (f"{name}：检查点是 {short(old)}，现在是 {short(new)}。", f"{name}: {short(old)} then, {short(new)} now.")
        for name, (old, new) in different.items()
    ]


def short(value: object) -> str:
    """A value for a message; hashes are cut."""
    text = str(value)
    return text[:12] if len(text) == 64 and " " not in text else text


def set_aside(output_dir: Path) -> Path | None:
    """Move what an earlier run left into a folder of its own, so that nothing of it is lost or taken for the new one's."""
    found = [path for name in OF_A_RUN for path in sorted(output_dir.glob(name))]
    if not found:
        return None
    aside = output_dir / f"before-{datetime.now():%Y%m%d-%H%M%S-%f}"
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    return aside


def command_to_continue(launcher: str, argv: Sequence[str]) -> str:
    """The command line of a run, with `--resume` for the newest checkpoint."""
    words, arguments = [], iter(argv)
    for word in arguments:
        if word == "--resume":
            following = next(arguments, None)
            words += [following] if following is not None and following.startswith("--") else []
        elif not word.startswith("--resume="):
            words.append(word)
    return f"{launcher} {command_line([*words, '--resume'])}"
