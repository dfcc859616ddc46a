"""Flags as the typed fields of frozen dataclasses: a field declares its name, default, range, and its help in two languages.

    @dataclass(frozen=True)
    class Steps:
        epochs: int = flag(5, "训练轮数", "passes over the corpus", POSITIVE)
        stride: int | None = flag(None, "相邻窗口起点的距离", "distance between windows; tokens", POSITIVE, shown="n_ctx")
        compile: Literal["auto", "on", "off"] = flag("auto", "编译训练步", "compile the training step")

    @dataclass(frozen=True)
    class TrainFlags:
        steps: Steps = group("训练", "training")

    parse(TrainFlags, argv).steps.stride

In: a class of groups, or of flags, and a command line. Out: an instance, its values in range. Refuses: unknown names (none is
abbreviated), values out of range, bytes that are not text; all of them at once.
"""

import argparse
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Literal, NoReturn, TypeVar, Union, get_args, get_origin, get_type_hints

from gpt2zh.errors import UserError, UserErrors, bilingual
from gpt2zh.flags.values import METAVARS, READERS, Kind, Range, corpus_source

# ----- declarations ---------------------------------------------------------------------------------------------------

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Declaration:
    """What a field says of its flag; see `flag`, and the others that make one."""

    form: str  # "value", "switch", "unswitch", "optional", "inputs", "dead switch", "dead value", "silent"
    zh: str
    en: str
    name: str | None = None
    aliases: tuple[str, ...] = ()
    allowed: Range | None = None
    kind: Kind | None = None
    shown: str | None = None


def flag(
    default: object,
    zh: str,
    en: str,
    allowed: Range | None = None,
    *,
    name: str | None = None,
    aliases: tuple[str, ...] = (),
    kind: Kind | None = None,
    shown: str | None = None,
) -> Any:
    """A flag with a value. A field that is a Literal has its words for choices.

    Args:
        name: without dashes, where it is not the field's. kind: reads its text, where the field's type does not.
        shown: what the default becomes, for --help.
    """
    return _field(default, Declaration("value", zh, en, name, aliases, allowed, kind, shown))


def switch(zh: str, en: str) -> Any:
    """A flag that is off unless given."""
    return _field(False, Declaration("switch", zh, en))


def unswitch(name: str, zh: str, en: str) -> Any:
    """A field that is True unless a flag of another name is given."""
    return _field(True, Declaration("unswitch", zh, en, name))


def optional(zh: str, en: str) -> Any:
    """A flag that may have a value: None where it is not given, "" where it is without one."""
    return _field(None, Declaration("optional", zh, en))


def inputs(zh: str, en: str) -> Any:
    """One or more values without a name in front."""
    return _field((), Declaration("inputs", zh, en))


def dead(zh: str, en: str, *, takes_value: bool) -> Any:
    """A flag of the ancestor's that changes nothing here; using it is answered by a line that says so, with the reason."""
    return _field(None if takes_value else False, Declaration("dead value" if takes_value else "dead switch", zh, en))


def silent() -> Any:
    """A switch that is found out without it; it is accepted, shown nowhere, and says nothing."""
    return _field(False, Declaration("silent", "", ""))


def group(zh: str, en: str, default: object = MISSING) -> Any:
    """A field that is a group of flags, under a title. `default`: an instance whose values are the defaults, where they are others."""
    if default is MISSING:
        return field(metadata={"title": bilingual(zh, en)}, kw_only=True)
    return field(default=default, metadata={"title": bilingual(zh, en)}, kw_only=True)


def _field(default: object, declaration: Declaration) -> Any:
    return field(default=default, metadata={"flag": declaration})


# ----- from declarations to values ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Flag:
    """A flag of a script: its field, and where it stands.

    Args:
        path: names of the fields that lead to it, its own last. kind: reads its text. choices: the texts it may be; () any.
        title: of its group; "" has none.
    """

    path: tuple[str, ...]
    declaration: Declaration
    default: Any
    kind: Kind
    choices: tuple[str, ...]
    title: str

    @property
    def name(self) -> str:
        return self.declaration.name or self.path[-1]

    @property
    def shown_default(self) -> str:
        """What stands for the default in --help and docs/flags.md."""
        if self.declaration.shown is not None:
            return self.declaration.shown
        if self.default is None:
            return "无 / none"
        return "''" if self.default in ("", ()) else str(self.default)


def flags_of(script: type, path: tuple[str, ...] = (), title: str = "", defaults: object = None) -> Iterator[Flag]:
    """The flags of a script's class, and of its groups, in their order."""
    hints = get_type_hints(script)
    for one in fields(script):
        if "title" in one.metadata:
            given = None if one.default is MISSING else one.default
            yield from flags_of(hints[one.name], (*path, one.name), one.metadata["title"], given)
        elif "flag" in one.metadata:
            declaration = one.metadata["flag"]
            default = one.default if defaults is None else getattr(defaults, one.name)
            kind, choices = _reader(hints[one.name])
            yield Flag((*path, one.name), declaration, default, declaration.kind or kind, choices, title)


def parse(
    script: type[Parsed], argv: Sequence[str] | None, choices: Mapping[str, Sequence[str]] | None = None
) -> Parsed:
    """The flags of a command line.

    Args:
        script: a frozen dataclass; its docstring says what the script does, in both languages.
        choices: of flags that only the script knows them of; {choices} in their help is replaced by them.

    Raises:
        UserErrors: all values that are out of range, or not text.
    """
    found = list(flags_of(script))
    parser = _Parser(
        description=script.__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    targets: dict[str, argparse._ActionsContainer] = {"": parser}
    for one in found:
        if one.title not in targets:
            targets[one.title] = parser.add_argument_group(one.title)
        _add(targets[one.title], one, (choices or {}).get(one.name))
    values = vars(parser.parse_args(argv))
    problems = [
        (f"--{name} 里有不是文字的字节", f"--{name} has bytes that are not text")
        for name, value in values.items()
        if any("\ud800" <= character <= "\udfff" for character in str(value))
    ]
    for one in found:
        value, allowed = values[one.name], one.declaration.allowed
        if allowed is not None and value is not None and not allowed.holds(value):
            problems.append((f"--{one.name} {value}：应{allowed.zh}", f"--{one.name} {value}: must be {allowed.en}"))
    if problems:
        raise UserErrors(problems)
    for one in found:
        if one.declaration.form.startswith("dead") and values[one.name]:
            print(
                bilingual(
                    f"--{one.name} 已不起作用：{one.declaration.zh}",
                    f"--{one.name} has no effect: {one.declaration.en}",
                )
            )
    return _build(script, (), {one.path: values[one.name] for one in found})


def named_values(flags: object) -> dict[str, object]:
    """The values of all flags of a script, by their names on the command line, as training.json and samples.json have them."""
    values: dict[str, object] = {}
    for one in flags_of(type(flags)):
        value = flags
        for name in one.path:
            value = getattr(value, name)
        values[one.name] = not value if one.declaration.form == "unswitch" else value
    return values


def _build(script: type[Parsed], path: tuple[str, ...], values: Mapping[tuple[str, ...], object]) -> Parsed:
    """An instance of a class, and of its groups, from the values of its flags."""
    hints = get_type_hints(script)
    arguments: dict[str, object] = {}
    one: Field[object]
    for one in fields(script):  # type: ignore[arg-type] # a dataclass, which mypy cannot say of a type variable
        if "title" in one.metadata:
            arguments[one.name] = _build(hints[one.name], (*path, one.name), values)
        elif "flag" in one.metadata:
            arguments[one.name] = values[(*path, one.name)]
    return script(**arguments)


def _add(target: "argparse._ActionsContainer", one: Flag, choices: Sequence[str] | None) -> None:
    """Declare a flag to argparse."""
    declaration, name, words = one.declaration, f"--{one.name}", " ".join(choices or ())
    zh, en = (text.replace("{choices}", words) for text in (declaration.zh, declaration.en))
    if declaration.form.startswith("dead"):
        zh, en = f"（不起作用）{zh}", f"(no effect) {en}"
    text = bilingual(zh, en).replace("%", "%%")
    match declaration.form:
        case "switch" | "dead switch":
            target.add_argument(name, action="store_true", help=text)
        case "unswitch":
            target.add_argument(name, action="store_false", help=text)
        case "silent":
            target.add_argument(name, action="store_true", help=argparse.SUPPRESS)
        case "optional":
            target.add_argument(name, nargs="?", const="", metavar="PATH", help=text)
        case "inputs":
            target.add_argument(one.name, nargs="+", metavar="INPUT", type=corpus_source, help=text)
        case "dead value":
            target.add_argument(name, default=None, metavar="…", help=text)
        case _:
            wanted = one.choices or (None if "{choices}" in declaration.zh else choices)
            target.add_argument(
                name,
                *(f"--{alias}" for alias in declaration.aliases),
                default=one.default,
                type=one.kind,
                choices=wanted,
                metavar=None if wanted else METAVARS.get(one.kind, "TEXT"),
                help=f"{text} ({one.shown_default.replace('%', '%%')})",
            )


def _reader(hint: Any) -> tuple[Kind, tuple[str, ...]]:
    """What reads the text of a value of a field's type, None aside; and the texts that it may be, () for any."""
    if get_origin(hint) in (Union, types.UnionType):
        (hint,) = (kind for kind in get_args(hint) if kind is not types.NoneType)
    return (str, get_args(hint)) if get_origin(hint) is Literal else (READERS.get(hint, hint), ())


class _Parser(argparse.ArgumentParser):
    """argparse whose faults are UserErrors, like all the others."""

    def error(self, message: str) -> NoReturn:
        raise UserError(
            f"命令行有误：{message}。运行 {self.prog} --help 看全部参数。",
            f"command line: {message}. {self.prog} --help shows all flags.",
        )
