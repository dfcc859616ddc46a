"""thulac's model files are read as those of the known version, or refused; a wrong form never gives words."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from gpt2zh.errors import UserError
from tokenizations.thulac_port.model_files import DICTIONARIES, KNOWN_VERSION, N_LABELS, read_model

TRIE = np.array([[0, 0], [5, 0], [-1, 1]], "<i4")
MODEL = np.array([N_LABELS, 3, *range(N_LABELS**2), *range(3 * N_LABELS)], "<i4")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Small files of the right form."""
    MODEL.tofile(tmp_path / "cws_model.bin")
    for name in ("cws_dat.bin", *DICTIONARIES):
        TRIE.tofile(tmp_path / name)
    return tmp_path


def test_the_numbers_lie_where_they_should(folder: Path) -> None:
    model = read_model(folder)
    assert model.transitions.tolist() == np.arange(16).reshape(4, 4).tolist()
    assert model.weights.tolist() == np.arange(12).reshape(3, 4).tolist()
    assert model.features.tolist() == TRIE.tolist() and len(model.dictionaries) == 3


HARM = {
    "missing": ("ns.dat", lambda path: path.unlink()),
    "empty": ("idiom.dat", lambda path: path.write_bytes(b"")),
    "cut": ("cws_dat.bin", lambda path: path.write_bytes(path.read_bytes()[:-3])),
    "half a row": ("cws_dat.bin", lambda path: path.write_bytes(path.read_bytes()[:-4])),
    "another root": ("singlepun.dat", lambda path: (TRIE + 1).tofile(path)),
    "a parent beyond the end": ("ns.dat", lambda path: np.array([[0, 0], [1, 2]], "<i4").tofile(path)),
    "other labels": ("cws_model.bin", lambda path: np.array([5, *MODEL[1:]], "<i4").tofile(path)),
    "fewer weights": ("cws_model.bin", lambda path: MODEL[:-4].tofile(path)),
    "text": ("cws_model.bin", lambda path: path.write_bytes(b"version https://git-lfs")),
}


@pytest.mark.parametrize("harm", HARM)
def test_another_form_is_refused_and_the_known_version_named(folder: Path, harm: str) -> None:
    name, change = HARM[harm]
    change(folder / name)
    with pytest.raises(UserError, match=rf"{name}.*pip install .*thulac=={KNOWN_VERSION}"):
        read_model(folder)


def test_the_installed_files_have_the_known_form() -> None:
    model = read_model(Path(find_spec("thulac").origin).parent / "models")
    assert model.weights.shape == (2453880, N_LABELS)
