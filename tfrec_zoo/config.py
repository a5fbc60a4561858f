"""Configurations: frozen dataclasses to and from JSON, checked as they are made.

A configuration declares each option once, with its default and its help; the JSON file, the command
line flags (`tfrec_zoo.program`) and the checks all come from that declaration:

    @dataclass(frozen=True, kw_only=True)
    class GRUConfig(Config):
        '''The recurrent network.'''

        hidden_dims: tuple[int, ...] = option((100,), "Units of each layer.", aliases=("layers",))
        activation: str = option("tanh", "Of the new state.", choices=("tanh", "relu"))

        def __post_init__(self):
            super().__post_init__()
            if min(self.hidden_dims, default=0) < 1:
                raise ValueError(f"hidden_dims must be positive, got {self.hidden_dims}")

An option is an `int`, `float`, `bool` or `str`, a tuple of one of them (`tuple[int, ...]`), or any
of these `| None`. A field may also be a configuration itself; its JSON is nested the same way:

    @dataclass(frozen=True, kw_only=True)
    class Experiment(Config):
        '''A model and how it is trained.'''

        model: GRUConfig = GRUConfig()

    Experiment.from_dict({"model": {"layers": [100, 50]}}).model.hidden_dims == (100, 50)
"""

import dataclasses
import difflib
import functools
import json
import math
import numbers
import types
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

ConfigType = TypeVar("ConfigType", bound="Config")

# A configuration file may say in these keys where it comes from and what it should reach, and
# which model it is of (`PROGRAM` of the configuration class).
ABOUT_KEY, PROGRAM_KEY = "about", "program"

_NOUNS = {
    int: ("an integer", "integers"),
    float: ("a finite number", "finite numbers"),
    bool: ("true or false", "true or false values"),
    str: ("a text", "texts"),
}


def option(
    default: Any,
    help: str,
    aliases: tuple[str, ...] = (),
    choices: Iterable[str] | None = None,
    value_aliases: Mapping[str, str] | None = None,
    affects_result: bool = True,
) -> Any:
    """Declares an option of a `Config`.

    Args:
        default: the value where nothing else is said.
        help: what it is, with unit and origin, for `--help`.
        aliases: names that users of other systems would type, accepted wherever the name is.
        choices: the values allowed (for a tuple: its elements).
        value_aliases: other systems' names of values -> the value here.
        affects_result: whether another value gives another result, so that a run cannot be
            continued with it. False for what is only about watching or prolonging a run.

    Returns:
        A dataclass field.
    """
    return dataclasses.field(
        default=default,
        metadata={
            "help": help,
            "aliases": tuple(aliases),
            "choices": None if choices is None else tuple(choices),
            "value_aliases": dict(value_aliases or {}),
            "affects_result": affects_result,
        },
    )


@dataclass(frozen=True)
class OptionType:
    """The type of an option: `scalar`, a tuple of it, and whether None is a value, too."""

    scalar: type
    is_tuple: bool = False
    is_optional: bool = False

    @classmethod
    def from_annotation(cls, annotation: Any) -> "OptionType":
        """Reads a type such as `int`, `tuple[str, ...]`, `float | None`; TypeError for others."""
        members = [annotation]
        if isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is typing.Union:
            members = [m for m in typing.get_args(annotation) if m is not type(None)]
        scalar = members[0]
        is_tuple = typing.get_origin(scalar) is tuple
        if is_tuple:
            scalar = typing.get_args(scalar)[0]
        if len(members) > 1 or scalar not in _NOUNS:
            raise TypeError(f"an option cannot be of type {annotation}")
        return cls(scalar, is_tuple, is_optional=members[0] is not annotation)

    def __str__(self) -> str:
        """Returns the type in words, as error messages have it."""
        singular, plural = _NOUNS[self.scalar]
        words = f"a list of {plural}" if self.is_tuple else singular
        return f"{words} or null" if self.is_optional else words

    def convert(self, value: Any) -> Any:
        """Returns `value` as this type: a list as a tuple, an int as a float; a bool is no number.

        Raises:
            TypeError: where it is none.
        """
        if value is None and self.is_optional:
            return None
        if not self.is_tuple:
            return self._convert_scalar(value)
        if not isinstance(value, list | tuple):
            raise TypeError(value)
        return tuple(self._convert_scalar(element) for element in value)

    def _convert_scalar(self, value: Any) -> Any:
        if self.scalar in (int, float):
            kind = numbers.Integral if self.scalar is int else numbers.Real
            if isinstance(value, kind) and not isinstance(value, bool) and math.isfinite(value):
                return self.scalar(value)
        elif isinstance(value, self.scalar):
            return value
        raise TypeError(value)


@dataclass(frozen=True)
class Option:
    """One option of a configuration class, or of a configuration nested in it.

    `path` is where its value lies in the JSON, for example `("model", "hidden_dims")`, and `group`
    the configuration class that declares it.
    """

    path: tuple[str, ...]
    group: "type[Config]"
    type: OptionType
    default: Any
    help: str
    aliases: tuple[str, ...]
    choices: tuple[str, ...] | None
    value_aliases: Mapping[str, str]
    affects_result: bool

    @property
    def name(self) -> str:
        """The field's name, the last part of the path."""
        return self.path[-1]

    def convert(self, value: Any) -> Any:
        """Returns `value` in the option's type, one of its choices; ValueError in one sentence."""
        try:
            value = self.type.convert(value)
        except TypeError:
            raise ValueError(f"{self.name} must be {self.type}, got {value!r}") from None
        if value is None or not (self.choices or self.value_aliases):
            return value
        elements = value if self.type.is_tuple else (value,)
        elements = tuple(self.value_aliases.get(element, element) for element in elements)
        for element in elements:
            if self.choices and element not in self.choices:
                known = ", ".join(map(str, self.choices))
                raise ValueError(f"{self.name} must be one of {known}, got {element!r}")
        return elements if self.type.is_tuple else elements[0]


@dataclass(frozen=True, kw_only=True)
class Config:
    """The base of all configurations: declares nothing, checks and converts what others declare."""

    def __post_init__(self) -> None:
        """Converts and checks each option; a subclass adds its own rules after calling this."""
        for field in own_options(type(self)):
            object.__setattr__(self, field.name, field.convert(getattr(self, field.name)))

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values: nested dictionaries, lists for tuples; first the program."""
        program = getattr(self, "PROGRAM", None)
        head = {PROGRAM_KEY: program} if program else {}
        return head | json.loads(json.dumps(dataclasses.asdict(self)))

    def to_json(self) -> str:
        """Returns the text of a `config.json`."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls: type[ConfigType], values: Mapping[str, Any]) -> ConfigType:
        """Returns the defaults with `values` in their place.

        Args:
            values: nested as the configuration is, complete or not; names of other systems are
                accepted, and `about` is passed over.

        Raises:
            ValueError: a name is unknown, a value is of the wrong type or against a rule.
        """
        return cls()._replace(resolve_names(cls, values))

    @classmethod
    def from_json(cls: type[ConfigType], text: str) -> ConfigType:
        """Returns the configuration that `text` holds, see `from_dict`."""
        return cls.from_dict(parse_json_object(text))

    def _replace(self: ConfigType, values: Mapping[str, Any]) -> ConfigType:
        changes = {
            name: getattr(self, name)._replace(value) if name in groups(type(self)) else value
            for name, value in values.items()
        }
        return dataclasses.replace(self, **changes)


@functools.cache
def groups(config_class: type[Config]) -> dict[str, type[Config]]:
    """Returns the fields of `config_class` that are configurations themselves: name -> class."""
    hints = typing.get_type_hints(config_class)
    names = [field.name for field in dataclasses.fields(config_class)]
    return {
        n: hints[n] for n in names if isinstance(hints[n], type) and issubclass(hints[n], Config)
    }


@functools.cache
def own_options(config_class: type[Config]) -> tuple[Option, ...]:
    """Returns the options that are fields of `config_class` itself, in their order."""
    hints = typing.get_type_hints(config_class)
    return tuple(
        Option(
            path=(field.name,),
            group=config_class,
            type=OptionType.from_annotation(hints[field.name]),
            default=field.default,
            **field.metadata,
        )
        for field in dataclasses.fields(config_class)
        if field.name not in groups(config_class)
    )


def list_options(config_class: type[Config]) -> tuple[Option, ...]:
    """Returns all options of `config_class`, those of nested configurations included.

    The default is what holds in `config_class`, which may set a nested configuration's anew.
    """
    defaults = config_class()
    found = [
        dataclasses.replace(field, default=getattr(defaults, field.name))
        for field in own_options(config_class)
    ]
    for name, group in groups(config_class).items():
        for field in list_options(group):
            default = functools.reduce(getattr, field.path, getattr(defaults, name))
            found.append(dataclasses.replace(field, path=(name, *field.path), default=default))
    return tuple(found)


def resolve_names(config_class: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `values` under the names of `config_class`: aliases resolved, `about` left out.

    Raises:
        ValueError: for a name that is unknown or given twice, with the nearest known names, and for
            another model's configuration.
    """
    expected = getattr(config_class, "PROGRAM", None)
    program = values.get(PROGRAM_KEY, expected)
    if program != expected:
        raise ValueError(f"this is a configuration of {program}, expected one of {expected}")
    values = {n: value for n, value in values.items() if n not in (ABOUT_KEY, PROGRAM_KEY)}
    return _resolve_group(config_class, values)


def _resolve_group(config_class: type[Config], values: Mapping[str, Any]) -> dict[str, Any]:
    canonical = {
        alias: field.name
        for field in own_options(config_class)
        for alias in (field.name, *field.aliases)
    }
    canonical.update({name: name for name in groups(config_class)})
    resolved = {}
    for given, value in values.items():
        if given not in canonical:
            raise ValueError(_describe_unknown(config_class, given, canonical))
        name = canonical[given]
        if name in resolved:
            raise ValueError(f"{name} is given twice in {config_class.__name__}, once as {given}")
        if name in groups(config_class):
            if not isinstance(value, Mapping):
                raise ValueError(f"{name} must be an object of options, got {value!r}")
            value = _resolve_group(groups(config_class)[name], value)
        resolved[name] = value
    return resolved


def _describe_unknown(config_class: type[Config], given: str, known: Iterable[str]) -> str:
    nearest = difflib.get_close_matches(given, list(known), n=3)
    if nearest:
        advice = f"did you mean {' or '.join(nearest)}?"
    elif homes := [".".join(f.path) for f in list_options(config_class) if f.name == given]:
        advice = f"it belongs in {homes[0]}"
    else:
        advice = f"known are {', '.join(sorted(known))}"
    return f"unknown option {given!r} in {config_class.__name__}: {advice}"


def parse_json_object(text: str) -> dict[str, Any]:
    """Returns the JSON object in `text`; ValueError where there is none."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"expected a JSON object, but the text is not valid JSON: {error}"
        ) from None
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, got {text.strip()[:40]!r}")
    return values
