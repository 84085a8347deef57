"""Publishing, rolling back and removing at once, killed half-way and sent again: books and target always agree."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.folder_target import FolderTarget
from lifecycle import FAILED, TESTS, Runs, install_folder_target
from service import wait
from tunesmith.errors import Conflict, NotFound, TunesmithError, Unavailable
from tunesmith.recipes import files, leftovers, models, runs
from tunesmith.settings import Settings
from tunesmith.store import locks
from tunesmith.store.tables import UnsettledModel
from tunesmith.store.workspace import Workspace

PATIENT_S = 60.0
ROW = b'{"messages": [{"role": "user", "content": "Hello"}, {"role": "assistant", "content": "Good day"}]}\n'
# Publish the run whose id is given, as its stage does.
PUBLISH = "import sys; from tunesmith.recipes.stage import main; sys.exit(main(sys.argv[1]))"
HOLD = (
    "import os, sys; from tunesmith.store import locks; from tunesmith.store.workspace import Workspace\n"
    "workspace = Workspace.open()\n"
    "with locks.held(workspace.database, workspace.artifacts.home, 'a name'):\n"
    "    print('held', flush=True); sys.stdin.read()"
)


@pytest.fixture
def tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TUNESMITH_MIN_FREE_DISK_MB", "0")
    return install_folder_target(tmp_path, monkeypatch)


@pytest.fixture
def made(workspace: Workspace, tags: Path) -> Runs:
    return Runs(workspace, files.add_file(workspace, "rows.jsonl", "fine-tune", [ROW * 20]).id)


def live_at_target(name: str = "m") -> str | None:
    return FolderTarget(Settings()).tags().get(f"{name}:latest")


def live_in_books(workspace: Workspace, name: str = "m") -> str | None:
    live = models.live_version(workspace, name)
    return live.version if live else None


class Pause:
    """Whoever promotes waits, the tag in place, until `go_on`. `entered` comes back once somebody does."""

    def __init__(self, tags: Path):
        self.pipe = tags / "pause"
        os.mkfifo(self.pipe)

    def entered(self) -> None:
        self._fd: int = -1

        def opened() -> bool:
            try:
                self._fd = os.open(self.pipe, os.O_WRONLY | os.O_NONBLOCK)
            except OSError:  # nobody reads yet
                return False
            self.pipe.unlink()  # the next one does not wait
            return True

        wait(opened, PATIENT_S)

    def go_on(self) -> None:
        os.close(self._fd)


class Caller(threading.Thread):
    """Calls it, and keeps what came of it."""

    def __init__(self, call: Callable[[], Any]):
        super().__init__(daemon=True)
        self.call, self.answer, self.error = call, None, None
        self.start()

    def run(self) -> None:
        try:
            self.answer = self.call()
        except TunesmithError as error:
            self.error = error

    def done(self) -> "Caller":
        self.join(PATIENT_S)
        assert not self.is_alive()
        return self


# -- one after another, but late -----------------------------------------------------------------------------------


def test_a_late_publication_does_not_undo_a_rollback(workspace: Workspace, made: Runs) -> None:
    """Regression: it put its candidate over whatever was live by then."""
    first, second = made.published(), made.published()
    late = made.evaluated()
    models.roll_back(workspace, "m")
    with pytest.raises(Conflict) as refused:
        made.publish(late)
    assert refused.value.error_code == "live_changed"
    assert second.id in refused.value.message
    assert live_in_books(workspace) == live_at_target() == first.id


def test_a_candidate_that_was_measured_against_nothing_does_not_replace(workspace: Workspace, made: Runs) -> None:
    early, late = made.evaluated(), made.evaluated()
    made.publish(early)
    with pytest.raises(Conflict):
        made.publish(late)
    assert live_in_books(workspace) == live_at_target() == early.id


def test_a_publication_that_is_done_again_after_a_rollback_stays_rolled_back(workspace: Workspace, made: Runs) -> None:
    """Regression: a stage that was killed after its model was live put it live again."""
    first, second = made.published(), made.published()
    models.roll_back(workspace, "m")
    outcome = made.publish(second)
    assert "is no more" in outcome["warnings"][0]
    assert live_in_books(workspace) == live_at_target() == first.id


def test_a_publication_that_is_done_again_after_a_removal_stays_removed(workspace: Workspace, made: Runs) -> None:
    only = made.published()
    models.remove(workspace, "m")
    assert made.publish(only)["warnings"]
    assert live_in_books(workspace) is None
    assert live_at_target() is None


def test_a_publication_that_is_done_again_finishes_and_changes_nothing(workspace: Workspace, made: Runs) -> None:
    made.published()
    second = made.published()
    assert made.publish(second)["warnings"] == []
    assert live_in_books(workspace) == live_at_target() == second.id
    assert len(models.list_versions(workspace, "m")) == 2


def test_a_rollback_that_is_sent_again_goes_back_once(workspace: Workspace, made: Runs) -> None:
    """Regression: a caller who got no answer and asked again went back twice."""
    first, second, third = made.published(), made.published(), made.published()
    for _ in range(3):
        assert models.roll_back(workspace, "m", third.id).version == second.id
    models.make_live(workspace, "m", first.id)
    with pytest.raises(Conflict) as refused:
        models.roll_back(workspace, "m", third.id)
    assert refused.value.error_code == "live_changed"
    with pytest.raises(NotFound):
        models.roll_back(workspace, "m", "run-0123456789ab")


def test_a_resumed_run_is_measured_again(workspace: Workspace, made: Runs) -> None:
    """What it was compared with is not live any more; and what was taken away of it is exported again."""
    made.published()
    second, late = made.published(), made.evaluated()
    models.roll_back(workspace, "m")
    made.end(late, "publish", "failed")
    runs.resume(workspace, late.id)
    states = {kind: made.job(late, kind).status for kind in ("train", "export", "evaluate", "publish")}
    assert states == {"train": "succeeded", "export": "succeeded", "evaluate": "queued", "publish": "queued"}
    assert not (made.folder(late, "evaluate") / "outcome.json").exists()
    made.evaluate(late)
    made.publish(late)
    assert live_in_books(workspace) == live_at_target() == late.id != second.id


# -- at once ---------------------------------------------------------------------------------------------------------


def test_a_rollback_waits_for_a_publication_that_has_begun(workspace: Workspace, made: Runs, tags: Path) -> None:
    """Regression: each changed target and books in its own order, and they disagreed for good."""
    made.published()
    second, third = made.published(), made.evaluated()
    pause = Pause(tags)
    publishing = Caller(lambda: made.publish(third))
    pause.entered()
    rolling_back = Caller(lambda: models.roll_back(workspace, "m"))
    with pytest.raises(Unavailable) as busy, locks.held(workspace.database, workspace.artifacts.home, "model m", 0):
        pass
    assert busy.value.error_code == "name_busy"
    assert rolling_back.is_alive()
    pause.go_on()
    assert publishing.done().error is None
    assert rolling_back.done().error is None
    assert live_in_books(workspace) == live_at_target() == second.id, "back from the third, which was live first"


def test_of_two_candidates_at_once_one_goes_live(workspace: Workspace, made: Runs, tags: Path) -> None:
    made.published()
    one, other = made.evaluated(), made.evaluated()
    pause = Pause(tags)
    first = Caller(lambda: made.publish(one))
    pause.entered()
    second = Caller(lambda: made.publish(other))
    pause.go_on()
    assert first.done().error is None
    error = second.done().error
    assert error is not None
    assert error.error_code == "live_changed"
    assert live_in_books(workspace) == live_at_target() == one.id


def test_removing_waits_for_a_publication_and_leaves_nothing(workspace: Workspace, made: Runs, tags: Path) -> None:
    made.published()
    second = made.evaluated()
    pause = Pause(tags)
    publishing = Caller(lambda: made.publish(second))
    pause.entered()
    removing = Caller(lambda: models.remove(workspace, "m"))
    pause.go_on()
    assert publishing.done().error is None
    assert removing.done().error is None
    assert FolderTarget(workspace.settings).tags() == {}
    assert live_in_books(workspace) is None


def test_many_at_once_leave_target_and_books_alike(workspace: Workspace, made: Runs) -> None:
    versions = [made.published() for _ in range(3)]
    barrier = threading.Barrier(6)

    def together(call: Callable[[], Any]) -> Caller:
        return Caller(lambda: (barrier.wait(), call()))

    late = made.evaluated()
    callers = [together(lambda: models.roll_back(workspace, "m")) for _ in range(2)]
    callers += [together(lambda run=run: models.make_live(workspace, "m", run.id)) for run in versions]  # type: ignore[misc]
    callers.append(together(lambda: made.publish(late)))
    for caller in callers:
        caller.done()
    assert live_in_books(workspace) == live_at_target()


# -- killed ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def publish_in_child(made: Runs) -> Iterator[Callable[[Any], "subprocess.Popen[bytes]"]]:
    """Starts the stage's own process. It lives as long as its standard input is open."""
    started: list[subprocess.Popen[bytes]] = []

    def start(run: Any) -> "subprocess.Popen[bytes]":
        argv = [sys.executable, "-c", PUBLISH, made.start(run, "publish").id]
        started.append(subprocess.Popen(argv, stdin=subprocess.PIPE, start_new_session=True))
        return started[-1]

    yield start
    for process in started:
        if process.stdin:
            process.stdin.close()
        process.wait(30)


def killed_between_target_and_books(made: Runs, tags: Path, start: Any, run: Any) -> None:
    pause = Pause(tags)
    process = start(run)
    pause.entered()
    process.kill()
    process.wait()
    pause.go_on()
    assert live_at_target() == run.id, "the target has it, our books do not"


def test_kill_9_of_a_publication_frees_the_name_and_is_finished_by_the_next(
    workspace: Workspace, made: Runs, tags: Path, publish_in_child: Any
) -> None:
    first, second = made.published(), made.evaluated()
    killed_between_target_and_books(made, tags, publish_in_child, second)
    assert live_in_books(workspace) == first.id
    made.publish(second)
    assert live_in_books(workspace) == live_at_target() == second.id
    assert leftovers_of(workspace) == []


def test_kill_9_of_a_publication_then_a_rollback_then_the_retry(
    workspace: Workspace, made: Runs, tags: Path, publish_in_child: Any
) -> None:
    first, _, third = made.published(), made.published(), made.evaluated()
    killed_between_target_and_books(made, tags, publish_in_child, third)
    models.roll_back(workspace, "m")
    with pytest.raises(Conflict):
        made.publish(third)
    assert live_in_books(workspace) == live_at_target() == first.id


def test_kill_9_of_a_publication_whose_run_is_then_cancelled(
    workspace: Workspace, made: Runs, tags: Path, publish_in_child: Any
) -> None:
    """Regression: the target went on answering with a candidate that nobody had published."""
    first, second = made.published(), made.evaluated()
    killed_between_target_and_books(made, tags, publish_in_child, second)
    leftovers.before_end(workspace, made.start(second, "publish"))
    assert live_in_books(workspace) == live_at_target() == first.id
    assert f"m:{second.id}" not in FolderTarget(workspace.settings).tags()


def test_kill_9_of_a_first_publication_that_is_then_cancelled(
    workspace: Workspace, made: Runs, tags: Path, publish_in_child: Any
) -> None:
    only = made.evaluated()
    killed_between_target_and_books(made, tags, publish_in_child, only)
    made.end(only, "publish", "cancelled")
    leftovers.step(workspace)
    assert FolderTarget(workspace.settings).tags() == {}


def test_a_half_made_change_is_settled_when_the_target_answers_again(
    workspace: Workspace, made: Runs, tags: Path, publish_in_child: Any
) -> None:
    first, second = made.published(), made.evaluated()
    killed_between_target_and_books(made, tags, publish_in_child, second)
    (tags / "away").touch()
    leftovers.step(workspace)
    assert leftovers_of(workspace) == ["m"]
    (tags / "away").unlink()
    leftovers.step(workspace)
    assert live_at_target() == first.id
    assert leftovers_of(workspace) == []


def leftovers_of(workspace: Workspace) -> list[str]:
    with workspace.database.read() as session:
        return [row.name for row in session.query(UnsettledModel)]


def test_a_name_is_held_across_processes_and_free_when_its_holder_is_killed(workspace: Workspace, tags: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=TESTS)
    assert holder.stdout is not None
    assert holder.stdin is not None
    assert holder.stdout.readline() == b"held\n"
    home = workspace.artifacts.home
    with pytest.raises(Unavailable), locks.held(workspace.database, home, "a name", patience_s=0):
        pass
    with locks.held(workspace.database, home, "another name", patience_s=0):
        pass
    holder.kill()
    holder.wait()
    with locks.held(workspace.database, home, "a name", patience_s=PATIENT_S):
        pass
    holder.stdin.close()
    holder.stdout.close()


# -- equal weights ---------------------------------------------------------------------------------------------------


def test_a_candidate_equal_to_the_live_version_does_not_take_it_along(workspace: Workspace, made: Runs) -> None:
    """A nightly run over the same documents ends in the same weights, which the target cannot tell apart."""
    live = made.published(digest="same")
    made.end(made.evaluated(digest="same", gate=FAILED), "publish", "failed")
    leftovers.step(workspace)
    assert FolderTarget(workspace.settings).tags() == {f"m:{live.id}": "same", "m:latest": "same"}


def test_removing_an_old_version_equal_to_the_live_one_leaves_that(workspace: Workspace, made: Runs) -> None:
    old, live = made.published(digest="same"), made.published(digest="same")
    models.remove(workspace, f"m:{old.id}")
    assert FolderTarget(workspace.settings).tags() == {f"m:{live.id}": "same", "m:latest": "same"}
