"""A distributed job on this machine: its processes are started, watched, restarted and ended."""

import itertools
import math
import selectors
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from absl import logging

from tfrec_zoo.trainers.fault_rules import FaultRules
from tfrec_zoo.trainers.local_cluster import LocalCluster, Task, reserve_cluster
from tfrec_zoo.trainers.signal_inbox import SignalInbox, open_signal_inbox
from tfrec_zoo.trainers.task_process import TaskProcess, describe_end, to_exit_code

# Before a worker is started again alone: were all of them wrong, the others have ended by then.
SECONDS_BEFORE_RESTART = 1.0


class LaunchedJob:
    """Runs a command as all tasks of a cluster, until the work is done or has failed."""

    def __init__(
        self,
        command: Sequence[str],
        num_tasks: Mapping[str, int],
        rules: FaultRules,
        *,
        environment: Mapping[str, str],
        max_restarts: int,
        grace_seconds: float,
    ) -> None:
        """Prepares; nothing is started yet.

        Args:
            command: the program and its arguments, the same for all tasks.
            num_tasks: how many tasks there are of each type.
            rules: what the end of a task means.
            environment: of all tasks; TF_CONFIG comes to it.
            max_restarts: of one or of all tasks, together.
            grace_seconds: how long tasks have to end by themselves, and again after SIGTERM.
        """
        self.command = command
        self.num_tasks = num_tasks
        self.rules = rules
        self.environment = environment
        self.grace_seconds = grace_seconds
        self.restarts_left = max_restarts

    def run(self) -> int:
        """Runs the job, and returns its exit code when no process of it is left.

        That is 0 where the work is done, 128 and the number of the signal where one interrupted it,
        and otherwise of the task that failed first in the last attempt.

        Raises:
            OSError: the program cannot be run, or nobody reads what it writes.
        """
        with open_signal_inbox() as signals:
            for is_first in itertools.chain([True], itertools.repeat(False)):
                with reserve_cluster(self.num_tasks) as cluster:
                    attempt = Attempt(self, cluster, signals)
                    attempt.run()
                if attempt.is_done:
                    return 0
                if signals.received:
                    return to_exit_code(-signals.received[0])
                if not self._may_restart(attempt, is_first):
                    return to_exit_code(attempt.failure_code)
                self.restarts_left -= 1
        raise AssertionError("the loop ends by a return")

    def _may_restart(self, attempt: "Attempt", is_first: bool) -> bool:
        if is_first and attempt.is_refusal:
            logging.error("not started again: the same command would fail again")
            return False
        if not self.restarts_left:
            logging.error("the job has failed, and no restarts are left")
            return False
        logging.warning(
            "starting all tasks again, %d restarts are left after this", self.restarts_left - 1
        )
        return True


class Attempt:
    """All tasks from their start to the end of the last process."""

    def __init__(self, job: LaunchedJob, cluster: LocalCluster, signals: SignalInbox) -> None:
        """Prepares; nothing is started yet."""
        self._job = job
        self._cluster = cluster
        self._signals = signals
        self._num_handled_signals = 0
        self._tasks = cluster.tasks
        self._prefix_width = max(len(str(task)) for task in self._tasks)
        self._running: dict[Task, TaskProcess] = {}
        # By themselves, in this order; of a task that is started again until it is.
        self._codes: dict[Task, int] = {}
        self._restarts: dict[Task, float] = {}
        self._has_restarted = False
        self._is_ending = False
        self.failure_code = 0
        """The exit code of the first task that was missed; 0 if none was."""

    def run(self) -> None:
        """Runs the tasks until the work is done, a task is missed or a signal interrupts it."""
        with selectors.DefaultSelector() as self._selector:
            self._selector.register(self._signals, selectors.EVENT_READ)
            try:
                for task in self._tasks:
                    self._start(task)
                self._wait(self._is_over)
                if not self.is_done:
                    self.failure_code = self._codes.get(self._find_failure(), 0)
                self._end_rest()
            finally:
                for process in self._running.values():
                    process.abandon()

    @property
    def is_done(self) -> bool:
        """Whether the work is done."""
        return self._job.rules.is_done(self._tasks, self._codes)

    @property
    def is_refusal(self) -> bool:
        """Whether the same command would fail again, were this the first attempt."""
        is_refusal = self._job.rules.is_refusal(self._tasks, self._codes)
        return is_refusal and not self._has_restarted

    def _is_over(self) -> bool:
        is_interrupted = bool(self._signals.received and self._codes)
        return self.is_done or self._find_failure() is not None or is_interrupted

    def _find_failure(self) -> Task | None:
        lasting = {task: code for task, code in self._codes.items() if task not in self._restarts}
        return self._job.rules.find_failure(self._tasks, lasting)

    def _has_finished(self) -> bool:
        kind = self._job.rules.finishing
        return all(task in self._codes for task in self._tasks if task.type == kind)

    def _start(self, task: Task) -> None:
        environment = {**self._job.environment, "TF_CONFIG": self._cluster.tf_config(task)}
        prefix = f"{task!s:{self._prefix_width}} | "
        process = self._running[task] = TaskProcess(self._job.command, environment, prefix)
        for output in process.outputs:
            self._selector.register(output.source, selectors.EVENT_READ, output)
        logging.info("%s: process %d at %s", task, process.pid, self._cluster.address(task))

    def _end_rest(self) -> None:
        """Waits for the tasks that end by themselves, and then ends the others."""
        self._restarts.clear()
        if not self.is_done:
            self._wait(self._has_finished, self._job.grace_seconds)
        self._is_ending = True
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._send(number, self._running)
            self._wait(lambda: not self._running, self._job.grace_seconds)

    def _send(self, number: int, tasks: Iterable[Task]) -> None:
        for task in tasks:
            if task in self._running:
                self._running[task].send(number)

    def _wait(self, is_met: Callable[[], bool], seconds: float = math.inf) -> None:
        """Handles whatever happens until a condition is met, or for some seconds."""
        deadline = time.monotonic() + seconds
        while not is_met() and (left := deadline - time.monotonic()) > 0:
            self._select(min([left, *self._seconds_to_restarts()]))
            self._pass_on_signals()
            self._note_ends()
            self._restart_due()

    def _select(self, seconds: float) -> None:
        """Passes on output until there is none, at most once of each; a signal ends the waiting."""
        ready = self._selector.select(None if seconds == math.inf else seconds)
        for key, _ in ready:
            if key.fileobj is self._signals:
                self._signals.clear()
            elif not key.data.forward():
                self._selector.unregister(key.fileobj)

    def _pass_on_signals(self) -> None:
        """Hands the first signal on to the tasks that finish; by the second all are killed."""
        for number in self._signals.received[self._num_handled_signals :]:
            name = signal.Signals(number).name
            if self._num_handled_signals:
                logging.warning("%s again: killing all tasks", name)
                self._send(signal.SIGKILL, self._tasks)
            else:
                logging.warning("%s: ending the tasks, the next one kills them", name)
                finishing = self._job.rules.finishing
                self._send(number, [task for task in self._tasks if task.type == finishing])
            self._num_handled_signals += 1
            self._restarts.clear()

    def _note_ends(self) -> None:
        for task, process in list(self._running.items()):
            if process.has_ended():
                for output in process.outputs:
                    if output.source in self._selector.get_map():
                        self._selector.unregister(output.source)
                del self._running[task]
                code = process.finish()
                if not self._is_ending:
                    self._note_end(task, code)

    def _note_end(self, task: Task, code: int) -> None:
        self._codes[task] = code
        logging.log(logging.WARNING if code else logging.INFO, "%s %s", task, describe_end(code))
        if code == 0 or task.type != self._job.rules.replaceable or self._signals.received:
            return
        if self._job.restarts_left > len(self._restarts):
            self._restarts[task] = time.monotonic() + SECONDS_BEFORE_RESTART
        elif not self._find_failure():
            logging.error("no restarts are left: going on without %s", task)

    def _seconds_to_restarts(self) -> list[float]:
        now = time.monotonic()
        return [max(due - now, 0.0) for due in self._restarts.values()]

    def _restart_due(self) -> None:
        for task, due in list(self._restarts.items()):
            if due <= time.monotonic() and not self._is_over():
                del self._restarts[task], self._codes[task]
                self._has_restarted = True
                self._job.restarts_left -= 1
                left = self._job.restarts_left
                logging.warning("starting %s again, %d restarts are left after this", task, left)
                self._start(task)
