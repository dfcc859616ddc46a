"""What TensorBoard shows of a folder: its rules for restarts, over tensorboardX's own messages."""

import struct
from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event, SessionLog


def events_of(file: Path) -> Iterator[Event]:
    """The records of a file, up to one that is cut short: length, its checksum, data, its checksum."""
    data, at = file.read_bytes(), 0
    while at + 12 <= len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if at + 16 + length > len(data):
            return
        yield Event.FromString(data[at + 12 : at + 12 + length])
        at += 16 + length


def shown(folder: Path) -> list[tuple[str, int, float]]:
    """Name, step and value of each point; a start hides what is from its step on."""
    points: list[tuple[str, int, float]] = []
    for file in sorted(folder.glob("events.out.tfevents.*"), key=lambda path: path.stat().st_mtime_ns):
        for event in events_of(file):
            if event.session_log.status == SessionLog.START:
                points = [point for point in points if point[1] < event.step]
            found = (value for value in event.summary.value if value.HasField("simple_value"))
            points += [(value.tag, event.step, value.simple_value) for value in found]
    return points
