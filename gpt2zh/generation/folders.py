"""Which model folders are meant.

In: the folder that was named, or the default. Out: a folder to load, or those of a run's epochs. Refuses: no epochs.
"""

from pathlib import Path

from gpt2zh.errors import UserError, say
from gpt2zh.system.folders import finished_models

DEFAULT_MODEL = Path("model/final_model")  # the ancestor's; stands for "the run I just made"


def chosen_model(folder: Path) -> Path:
    """`folder`, or the newest finished run where the default folder is empty: said, and for that one path only."""
    finished = finished_models()
    if folder.is_dir() or folder != DEFAULT_MODEL or not finished:
        return folder
    say(
        f"没有 {folder}，改用最近训练完的 {finished[0]}。",
        f"there is no {folder}: using the newest finished run, {finished[0]}.",
    )
    return finished[0]


def models_of_epochs(folder: Path) -> list[Path]:
    """The model_epochN folders of a run, in order; `folder` is the run's, or that of one of its models.

    Raises:
        UserError: there are none.
    """
    for run in (folder, folder.parent):
        epochs = {int(path.name[11:]): path for path in run.glob("model_epoch*") if path.name[11:].isdecimal()}
        if epochs:
            return [epochs[number] for number in sorted(epochs)]
    raise UserError(
        f"{folder} 和 {folder.parent} 里都没有 model_epoch1 这样的文件夹。--model_path 应是一次训练的输出文件夹。",
        f"no folder like model_epoch1 in {folder} or {folder.parent}. --model_path must be a run's output folder.",
    )
