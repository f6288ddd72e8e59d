"""What the lifecycle nodes have in common: parameters, transitions that can fail, reports on /diagnostics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rcl_interfaces.msg import SetParametersResult
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.parameter import Parameter

from .parameters.common import NodeParameters
from .parameters.declaration import changed, declarations, declare
from .reporting import diagnostics

Settings = TypeVar("Settings", bound=NodeParameters)

_DIAGNOSTICS_PERIOD = 1.0  # seconds


class ManagedNode(LifecycleNode, ABC, Generic[Settings]):
    """Lifecycle node that keeps its parameters in a dataclass and says in one sentence why a transition failed.

    Subclasses say what the transitions do. What these methods raise fails the transition; a ``ValueError`` is expected
    to be a sentence for users, of other errors the type is told too.

    Parameters
    ----------
    name : str
        Of the node, until it is remapped.
    settings_class : type
        Declares the parameters.

    Attributes
    ----------
    settings : NodeParameters
        The present values.
    condition : {"unconfigured", "inactive", "active", "finalized"}
        The primary state that the node is in, or came from.
    failure : str
        Why the node could not be configured or had to give up; empty if neither happened.

    Raises
    ------
    ValueError
        If a parameter's initial value is not allowed.
    """

    def __init__(self, name: str, settings_class: type[Settings]) -> None:
        super().__init__(name)
        self.settings = declare(self, settings_class)
        self.condition = "unconfigured"
        self.failure = ""
        self._refusal = ""  # why the node could not be activated; unlike a failure it leads to no error processing
        self.steady_clock = Clock(clock_type=ClockType.STEADY_TIME)  # simulated time may stand still or jump
        self.add_on_set_parameters_callback(self._check_changes)
        self.add_post_set_parameters_callback(self._apply_changes)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self.create_timer(_DIAGNOSTICS_PERIOD, self._publish_diagnostics, clock=self.steady_clock)

    # What subclasses do

    @abstractmethod
    def set_up(self) -> None:
        """Load and advertise."""

    @abstractmethod
    def run(self) -> None:
        """Subscribe and work."""

    @abstractmethod
    def stop(self) -> None:
        """Undo `run`, or nothing; must not raise."""

    @abstractmethod
    def clean_up(self) -> None:
        """Undo `set_up` as far as it came, once stopped; must not raise."""

    @abstractmethod
    def reports(self, name: str) -> list[DiagnosticStatus]:
        """Return what to say on /diagnostics while active, besides the node's own status; `name` is the node's."""

    @abstractmethod
    def details(self) -> tuple[str, str, dict[str, object]]:
        """Return name, hardware and values for the node's own status on /diagnostics."""

    def check_change(self, wanted: Settings) -> None:
        """Refuse new parameters of a configured node by a ``ValueError``; they are valid in themselves."""

    def follow_change(self, before: Settings) -> None:
        """React to new parameters."""

    # Lifecycle

    def start(self) -> None:
        """Configure and activate, if the parameter ``autostart`` says so."""
        if self.settings.autostart and self.trigger_configure() == TransitionCallbackReturn.SUCCESS:
            self.trigger_activate()

    def release(self) -> None:
        """Stop and give up everything, whatever the state."""
        self.stop()
        self.clean_up()
        self.condition, self._refusal = "unconfigured", ""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Set up; on failure the node stays unconfigured and can be configured again."""
        try:
            self.set_up()
        except Exception as error:  # rclpy would swallow it without a word
            self.failure = _in_words(error)
            self.get_logger().error(f"cannot configure: {self.failure}")
        else:
            self.failure, self.condition = "", "inactive"
            return super().on_configure(state)
        self.release()  # out of the block above, where the error's traceback keeps the model alive
        return TransitionCallbackReturn.FAILURE

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Run; on failure the node stays inactive and can be activated again."""
        result = super().on_activate(state)  # the publishers
        self._refusal = ""
        try:
            self.run()
        except Exception as error:  # as above
            self._refusal = _in_words(error)
            self.get_logger().error(f"cannot activate: {self._refusal}")
            self.on_deactivate(state)
            return TransitionCallbackReturn.FAILURE
        self.condition = "active"
        return result

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop; nothing is published once this has returned. After a failure it leads to error processing."""
        self.stop()
        self.condition = "inactive"
        return TransitionCallbackReturn.ERROR if self.failure else super().on_deactivate(state)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything."""
        self.release()
        return super().on_cleanup(state)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, whatever the state."""
        self.release()
        self.condition = "finalized"
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release everything, so that the node can be configured again."""
        self.release()
        return TransitionCallbackReturn.SUCCESS

    # Parameters

    def _check_changes(self, changes: Sequence[Parameter[Any]]) -> SetParametersResult:
        known = declarations(self.settings)
        is_configured = self.condition in ("inactive", "active")
        for name in (change.name for change in changes if is_configured and change.name in known):
            if not known[name].live:
                reason = f"{name} takes effect at configure: deactivate and clean up the node before changing it"
                return SetParametersResult(successful=False, reason=reason)
        try:
            wanted = self._with(changes)
            if is_configured:
                self.check_change(wanted)
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply_changes(self, changes: Sequence[Parameter[Any]]) -> None:
        before, self.settings = self.settings, self._with(changes)
        self.follow_change(before)

    def _with(self, changes: Sequence[Parameter[Any]]) -> Settings:
        return changed(self.settings, {change.name: change.value for change in changes})

    # Diagnostics

    def _publish_diagnostics(self) -> None:
        name = self.get_fully_qualified_name().lstrip("/")
        part, hardware, values = self.details()
        verdict = diagnostics.OK, self.condition
        if reason := self.failure or self._refusal:
            verdict = diagnostics.ERROR, f"{self.condition}: {reason}"
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        message.status = [diagnostics.status(f"{name}: {part}", hardware, verdict, {"state": self.condition, **values})]
        if self.condition == "active":
            message.status += self.reports(name)
        self._diagnostics.publish(message)


def _in_words(error: Exception) -> str:
    reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
    return " ".join(reason.split())
