"""What the end of one process means for a distributed job, for each strategy.

| strategy | ends | then |
|---|---|---|
| multi_worker | a worker, not with 0 | the others end by themselves; all are started again |
| parameter_server | a worker, not with 0 | it is started again alone, on the same port |
| parameter_server | a server, not with 0 | the chief ends by itself; all are started again |
| parameter_server | the chief, not with 0 | all are started again |
| parameter_server | the chief, with 0 | the job is done; the others would wait for ever: ended |

Every start again, of one or of all, is one restart. Without one left, a worker of parameter servers
is missing from then on, as long as there is another; in all other cases the job has failed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfrec_zoo.program import EXIT_TASK_LOST
from tfrec_zoo.trainers.local_cluster import Task

MULTI_WORKER = "multi_worker"
PARAMETER_SERVER = "parameter_server"
# Of `tfrec_zoo.program`: bad input, wrong flags.
_REFUSALS = {1, 2}


@dataclass(frozen=True)
class FaultRules:
    """The rules of a strategy.

    Exit codes are those of tasks that ended by themselves, in the order in which they did; negative
    are the numbers of signals. A task that was started again has none.
    """

    finishing: str
    """The type of the tasks that end when the work is done, or has become impossible."""
    replaceable: str | None
    """The type of the tasks that can be missing for a while."""

    def is_done(self, tasks: Sequence[Task], codes: Mapping[Task, int]) -> bool:
        """Returns whether the work is done."""
        return all(codes.get(task) == 0 for task in tasks if task.type == self.finishing)

    def find_failure(self, tasks: Sequence[Task], codes: Mapping[Task, int]) -> Task | None:
        """Returns the first task without which the others cannot go on; None if there is none."""
        has_replaceable = any(t.type == self.replaceable and t not in codes for t in tasks)
        for task, code in codes.items():
            if code != 0 and not (task.type == self.replaceable and has_replaceable):
                return task
        return None

    def is_refusal(self, tasks: Sequence[Task], codes: Mapping[Task, int]) -> bool:
        """Returns whether a first attempt failed over what it was given: it would fail again.

        So it did where all tasks that finish have ended by themselves, the first that failed with 1
        or 2, as the zoo's programs do for bad input and wrong flags, and the others likewise or
        for want of the first.
        """
        has_finished = all(task in codes for task in tasks if task.type == self.finishing)
        failed = [code for code in codes.values() if code]
        is_first_refusal = bool(failed) and failed[0] in _REFUSALS
        return has_finished and is_first_refusal and set(failed) <= {*_REFUSALS, EXIT_TASK_LOST}


RULES = {
    MULTI_WORKER: FaultRules(finishing="worker", replaceable=None),
    PARAMETER_SERVER: FaultRules(finishing="chief", replaceable="worker"),
}
