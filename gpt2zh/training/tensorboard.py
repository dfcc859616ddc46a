"""TensorBoard's file: the numbers of metrics.jsonl as points, and texts.

In: numbers by name, texts, the step of each. Out: `events.out.tfevents.…` in a folder, in which each call's are at once.

A record that a full disk has cut in two would hide what follows it, so the next one then begins another file. tensorboardX's
SummaryWriter is not used: its thread keeps points back for two minutes, which a kill loses, and ends at a disk's first refusal.
"""

import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

# TensorBoard's "custom scalars" show these in one picture: the validation falls through the flat lines of the n-grams.
PICTURE = {"bits per character": {"validation and n-grams": ["Multiline", ["val/bits_per_character", "ngram/.*"]]}}


class TensorBoardFile:
    """The points of a run.

    Args:
        first_step: of what an earlier run left in `folder`, TensorBoard shows nothing from here on.
    """

    def __init__(self, folder: Path, first_step: int) -> None:
        self.folder = folder
        self.events: EventsWriter | None = None
        self._write(Event(step=first_step, session_log=SessionLog(status=SessionLog.START)))
        self._write(Event(summary=summary.custom_scalars(PICTURE)))

    def points(self, step: int, values: Mapping[str, float]) -> bool:
        """Add a point to each curve. Returns whether they are written."""
        points = [point for name, value in values.items() for point in summary.scalar(name, value).value]
        return self._write(Event(step=step, summary=Summary(value=points)))

    def text(self, step: int, name: str, text: str) -> bool:
        """Add a text, of which TensorBoard shows Markdown. Returns whether it is written."""
        return self._write(Event(step=step, summary=summary.text(name, text.replace("\n", "\n\n"))))

    def _write(self, event: Event) -> bool:
        event.wall_time = time.time()
        try:
            if self.events is None:
                number = len(list(self.folder.glob("events.out.tfevents.*")))  # so that none is written over
                self.events = EventsWriter(str(self.folder / "events"), filename_suffix=f".{number:04}")
            self.events.write_event(event)
            self.events.flush()
        except OSError:
            self.events = None
            return False
        return True
