"""The folder that the tasks of a job share, or do not."""

import pytest

from tfrec_zoo.experiments import GRU4RecExperiment
from tfrec_zoo.trainers.drivers.local import LocalDriver
from tfrec_zoo.trainers.drivers.opening import open_shared_folder

EXPERIMENT = GRU4RecExperiment()


class Follower(LocalDriver):
    """A task that is told what the chief has decided."""

    is_chief = False

    def __init__(self, decided):
        super().__init__()
        self._decided = decided

    def decide(self, choose):
        return self._decided


class Chief(LocalDriver):
    """A task whose decisions are kept."""

    def decide(self, choose):
        self.decided = choose()
        return self.decided


def test_a_task_that_sees_the_folder_of_the_chief_reads_it(tmp_path):
    chief = Chief()
    with open_shared_folder(chief, str(tmp_path / "run"), EXPERIMENT) as folder:
        follower = Follower(chief.decided)
        with open_shared_folder(follower, str(tmp_path / "run"), EXPERIMENT) as seen:
            assert seen.path == folder.path
            assert seen.load_config()["program"] == "gru4rec"


@pytest.mark.parametrize("other", ["elsewhere", "run"])
def test_a_task_that_sees_another_folder_says_so(tmp_path, other):
    chief = Chief()
    with open_shared_folder(chief, str(tmp_path / "run"), EXPERIMENT):
        token = chief.decided if other == "elsewhere" else "of another job"
        with (
            pytest.raises(ValueError, match="the tasks do not share the run folder"),
            open_shared_folder(Follower(token), str(tmp_path / other), EXPERIMENT),
        ):
            pass


def test_nothing_is_left_of_the_token(tmp_path):
    with open_shared_folder(Chief(), str(tmp_path / "run"), EXPERIMENT) as folder:
        folder.write_metrics({})
    assert {path.name for path in (tmp_path / "run").iterdir()} == {
        "config.json",
        "metrics.json",
        ".lock",
    }
