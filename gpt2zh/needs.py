"""What a script needs before anything of it is loaded: a Python that knows its syntax, and the packages of requirements.txt.

Every script imports this first, and any Python from 3.6 on can read it. Refuses: an older Python, missing packages; exit code 3.
"""

import sys
from importlib.util import find_spec

OLDEST = (3, 11)
PACKAGES = (
    "numpy",
    "tqdm",
    "filelock",
    "tokenizers",
)  # which all scripts load at once; torch and others come when they are needed
INSTALL = "pip install -r requirements.txt"


def lacking(version, is_there):  # type: ignore[no-untyped-def] # today's annotations are more than old Pythons read
    """What is missing, in both languages, or "". Args: version, as (3, 11); is_there, (name) -> whether a package is installed."""
    if version < OLDEST:
        has, wanted = (".".join(map(str, numbers)) for numbers in (version, OLDEST))
        return (
            f"需要 Python {wanted} 或更新的版本，这是 {has}。请用新的 Python 建虚拟环境，再运行 {INSTALL}。 / "
            f"Python {wanted} or newer is needed, this is {has}. Make a virtual environment with a newer one, then run {INSTALL}."
        )
    missing = " ".join(name for name in PACKAGES if not is_there(name))
    if missing:
        return (
            f"缺少 Python 包：{missing}。请运行 {INSTALL}（Python：{sys.executable}）。 / "
            f"missing packages: {missing}. Run {INSTALL} (Python: {sys.executable})."
        )
    return ""


problem = lacking(sys.version_info[:2], find_spec)
if problem:
    sys.stderr.write(f"\n错误 / error: {problem}\n")
    raise SystemExit(3)
