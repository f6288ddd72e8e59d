"""ROS parameters declared once, as the fields of a frozen dataclass.

A field made by `parameter` carries name, type, default, range, description and liveness. The declaration on the node,
the validation, ``docs/parameters.md`` and the YAML file all come from there, and code reads typed attributes.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

import yaml
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.parameter import Parameter

if TYPE_CHECKING:
    from rclpy.node import Node


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Settings = TypeVar("Settings", bound=_Dataclass)

TOPIC_PREFIX = re.compile(r"/?[A-Za-z_]\w*(/[A-Za-z_]\w*)*", re.ASCII)
"""What a topic's name can start with; to be matched in full."""


@dataclass(frozen=True)
class Declaration:
    """What is known of one parameter; see `parameter`."""

    name: str
    default: Any
    description: str
    minimum: float | None
    maximum: float | None
    choices: tuple[str, ...]
    accepts: Callable[[Any], bool]
    constraint: str
    live: bool

    @property
    def expectation(self) -> str:
        """The values allowed, in words."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        if self.constraint:
            return self.constraint
        if self.minimum is not None:
            return f"{_type_name(self.default)} in [{self.minimum}, {self.maximum}]"
        return _type_name(self.default)

    def takes_effect(self, read_only: bool) -> str:
        """When a value counts, as a sentence."""
        if read_only:
            return "Read once, at the start."
        return "Changes take effect on the next image." if self.live else "Takes effect at configure."

    def check(self, value: object) -> None:
        """Raise ``ValueError`` naming the parameter unless `value` is allowed."""
        if not (self._has_right_type(value) and self._in_range(value) and self.accepts(value)):
            raise ValueError(f"{self.name} must be {self.expectation}, got {value!r}")

    def as_declared(self, value: Any) -> Any:
        """Return `value` with integers made floating-point numbers, if those are expected; else `value` itself."""
        if type(self.default) is float and type(value) is int:
            return float(value)
        if isinstance(self.default, tuple) and type(self.default[0]) is float and isinstance(value, (list, array)):
            return [float(item) if type(item) is int else item for item in value]
        return value

    def _has_right_type(self, value: object) -> bool:
        if isinstance(self.default, tuple):
            return isinstance(value, tuple) and all(type(item) is type(self.default[0]) for item in value)
        return type(value) is type(self.default)

    def _in_range(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        return self.minimum is None or self.maximum is None or self.minimum <= value <= self.maximum

    def descriptor(self, read_only: bool) -> ParameterDescriptor:
        """Return what ``ros2 param describe`` shows."""
        descriptor = ParameterDescriptor(name=self.name, read_only=read_only)
        descriptor.description = f"{self.description} {self.takes_effect(read_only)}"
        if self.choices or self.constraint:
            descriptor.additional_constraints = self.expectation
        if isinstance(self.default, float) and self.minimum is not None:
            range_ = FloatingPointRange(from_value=float(self.minimum), to_value=float(self.maximum or 0))
            descriptor.floating_point_range = [range_]
        elif isinstance(self.default, int) and self.minimum is not None:
            descriptor.integer_range = [IntegerRange(from_value=int(self.minimum), to_value=int(self.maximum or 0))]
        return descriptor


def parameter(
    default: object,
    description: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    choices: tuple[str, ...] = (),
    accepts: Callable[[Any], bool] = lambda value: True,
    constraint: str = "",
    live: bool = False,
) -> Any:
    """Declare a parameter as a field of a settings dataclass.

    Parameters
    ----------
    default : bool, int, float, str or non-empty tuple of one of these
        Also fixes the type.
    description : str
        One or two sentences, with the unit.
    minimum, maximum : float, optional
        Inclusive range; both or none.
    choices : tuple of str
        The only values allowed, if given.
    accepts : callable
        Further condition on a value of the right type and range.
    constraint : str
        That condition in words, to continue "must be ...".
    live : bool
        Whether a change takes effect on the next image; others take effect at the next ``configure``.
    """
    metadata = {
        "description": description,
        "minimum": minimum,
        "maximum": maximum,
        "choices": choices,
        "accepts": accepts,
        "constraint": constraint,
        "live": live,
    }
    return dataclasses.field(default=default, metadata=metadata)


def declarations(settings: _Dataclass | type[_Dataclass]) -> dict[str, Declaration]:
    """Return the declarations of a settings dataclass by parameter name."""
    return {
        field.name: Declaration(name=field.name, default=field.default, **field.metadata)
        for field in dataclasses.fields(settings)
    }


def check(settings: _Dataclass) -> None:
    """Raise ``ValueError`` for the first field of `settings` that is not allowed; call it in ``__post_init__``."""
    for declaration in declarations(settings).values():
        declaration.check(getattr(settings, declaration.name))


def declare(node: Node, settings_class: type[Settings], read_only: bool = False) -> Settings:
    """Declare all parameters on `node` and return the values they start with.

    Integers are taken where floating-point numbers are expected, then and later: the command line reads 1 as one.

    Parameters
    ----------
    node : rclpy.node.Node
        Gets the parameters.
    settings_class : type
        Dataclass whose fields are made by `parameter`.
    read_only : bool
        Whether values are only given at the start of the node.

    Raises
    ------
    ValueError
        If a value from the command line or a parameter file is not allowed; the message names the parameter.
    """
    values = {}
    for name, declaration in declarations(settings_class).items():
        value = declaration.as_declared(_initial_value(node, declaration))
        declaration.check(_as_field(value))
        node.declare_parameter(name, value, declaration.descriptor(read_only), ignore_override=True)
        values[name] = value
    node.add_pre_set_parameters_callback(lambda changes: [_as_declared(settings_class, item) for item in changes])
    return changed(settings_class(), values)


def _initial_value(node: Node, declaration: Declaration) -> Any:
    """Return the value from the command line or a parameter file, whatever its type, or else the default."""
    default = list(declaration.default) if isinstance(declaration.default, tuple) else declaration.default
    value = node.declare_parameter(declaration.name, default, ParameterDescriptor(dynamic_typing=True)).value
    node.undeclare_parameter(declaration.name)
    return value


def _as_declared(settings_class: type[_Dataclass], change: Parameter[Any]) -> Parameter[Any]:
    declaration = declarations(settings_class).get(change.name)
    value = change.value if declaration is None else declaration.as_declared(change.value)
    return change if value is change.value else Parameter(change.name, value=value)


def _as_field(value: object) -> object:
    """Return the value of a ROS parameter as settings hold it."""
    return tuple(value) if isinstance(value, (list, array)) else value


def changed(settings: Settings, changes: Mapping[str, object]) -> Settings:
    """Return `settings` with some values replaced, all or none.

    Parameters
    ----------
    settings : dataclass
        The present values, left as they are.
    changes : mapping
        New values by parameter name. Names that are no field (``use_sim_time``) are passed over.

    Raises
    ------
    ValueError
        If a value is not allowed; the message names the parameter and what is expected.
    """
    known = declarations(settings)
    values = {name: _as_field(value) for name, value in changes.items() if name in known}
    return dataclasses.replace(settings, **values)


def markdown_table(settings_class: type[_Dataclass], read_only: bool = False) -> str:
    """Return the parameters as a Markdown table, with a column on liveness unless all are read-only."""
    rows = [["parameter", "default", "allowed", "live", "description"], ["---"] * 5]
    for item in declarations(settings_class).values():
        live = "yes" if item.live else "no"
        description = item.description.replace("<", "\\<")  # not HTML
        rows.append([f"`{item.name}`", f"`{_yaml(item.default)}`", item.expectation, live, description])
    if read_only:
        rows = [row[:3] + row[4:] for row in rows]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def yaml_file(settings_class: type[_Dataclass], introduction: str, read_only: bool = False) -> str:
    """Return a commented parameter file with all defaults; `introduction` becomes its first comment."""
    lines = [f"# {line}".rstrip() for line in introduction.splitlines()]
    lines += ["/**:", "  ros__parameters:"]
    for item in declarations(settings_class).values():
        comment = f"{item.description} Allowed: {item.expectation}. {item.takes_effect(read_only)}"
        lines += [f"    # {line}" for line in textwrap.wrap(comment, width=110)]
        lines += [f"    {item.name}: {_yaml(item.default)}", ""]
    return "\n".join(lines[:-1]) + "\n"


def _yaml(value: object) -> str:
    text: str = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True)
    return text.splitlines()[0]


def _type_name(value: object) -> str:
    if isinstance(value, tuple):
        return f"a list of {_type_name(value[0]).split(maxsplit=1)[-1]}s"
    return {bool: "true or false", int: "an integer", float: "a floating-point number", str: "a text"}[type(value)]
