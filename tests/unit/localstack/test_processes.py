from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Generator
from pathlib import Path

import psutil
import pytest

from localstack import processes
from localstack.processes import Command, PidFile

READY = "import time; print('ready', flush=True); time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {READY}"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {READY!r}]); {READY}"


class Runner:
    """Starts detached Python processes and ends them with the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "process.log"
        self._started: list[psutil.Process] = []

    def start(self, program: str, lines: int = 1) -> psutil.Process:
        """Start a program and wait until it has said that it is ready."""
        argv = [os.environ.get("PYTHON", "python3"), "-c", program, str(self.directory)]
        process = processes.start(Command(argv, cwd=self.directory), self.log)
        assert process is not None
        self._started.append(process)
        with subprocess.Popen(["tail", "-n", "+1", "-F", str(self.log)], stdout=-1, stderr=-3, text=True) as tail:
            assert tail.stdout is not None
            assert [tail.stdout.readline() for _ in range(lines)] == ["ready\n"] * lines
            tail.kill()
        return process

    def end(self) -> None:
        for process in self._started:
            if processes.is_alive(process):
                processes.kill_tree(process)


@pytest.fixture
def runner(tmp_path: Path) -> Generator[Runner]:
    runner = Runner(tmp_path)
    yield runner
    runner.end()


def test_a_started_process_is_nobodys_child(runner: Runner) -> None:
    process = runner.start(READY)
    assert process.ppid() != os.getpid()
    assert os.getsid(process.pid) != os.getsid(0)


def test_each_start_has_a_new_log_and_the_last_one_stays(runner: Runner) -> None:
    runner.start(READY)
    first = runner.log.read_text()
    runner.start("import time; print('ready', flush=True); print('second', flush=True); time.sleep(600)")
    assert "second" not in first
    assert runner.log.with_suffix(".log.1").read_text() == first


def test_what_cannot_be_started_leaves_its_reason_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "process.log"
    process = processes.start(Command(["/nowhere/server"], cwd=tmp_path), log)
    assert process is None or processes.wait_gone([process], 10)
    assert "/nowhere/server" in log.read_text()


def test_a_process_is_remembered(runner: Runner) -> None:
    process = runner.start(READY)
    pid_file = PidFile(runner.directory / "pid.json")
    assert pid_file.process() is None
    pid_file.write(process)
    assert pid_file.process() == process
    processes.kill_tree(process)
    assert pid_file.process() is None


@pytest.mark.parametrize("content", ["", "12", "{}", '{"pid": "x"}', '{"pid": 0, "created": null}', "[]"])
def test_a_broken_pid_file_is_no_process(tmp_path: Path, content: str) -> None:
    (tmp_path / "pid.json").write_text(content)
    assert PidFile(tmp_path / "pid.json").process() is None


def test_a_recycled_pid_is_not_ours(runner: Runner) -> None:
    process = runner.start(READY)
    path = runner.directory / "pid.json"
    path.write_text(json.dumps({"pid": process.pid, "created": process.create_time() - 60}))
    assert PidFile(path).process() is None


def test_a_process_is_found_by_its_marker(runner: Runner) -> None:
    process = runner.start(READY)
    assert processes.marked(str(runner.directory)) == [process]
    assert processes.marked(f"{runner.directory}/other") == []


def test_a_process_is_found_by_where_it_works(runner: Runner) -> None:
    process = runner.start(READY)
    assert processes.working_in(runner.directory, process.name()) == [process]
    assert processes.working_in(runner.directory, "postgres") == []


def test_stopping_asks_first(runner: Runner) -> None:
    program = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(print('bye', flush=True)))"
    process = runner.start(f"{program}; {READY}")
    processes.stop(process, signal.SIGTERM, 10)
    assert not processes.is_alive(process)
    assert runner.log.read_text() == "ready\nbye\n"


def test_stopping_kills_what_does_not_listen(runner: Runner) -> None:
    process = runner.start(STUBBORN)
    processes.stop(process, signal.SIGTERM, 0.1)
    assert not processes.is_alive(process)


def test_stopping_reaches_a_frozen_process(runner: Runner) -> None:
    process = runner.start(READY)
    processes.pause(process)
    assert processes.is_paused(process)
    processes.stop(process, signal.SIGTERM, 10)
    assert not processes.is_alive(process)


def test_freezing_and_thawing_reach_the_children(runner: Runner) -> None:
    process = runner.start(PARENT, lines=2)
    family = processes.tree(process)
    processes.pause(process)
    assert [processes.is_paused(member) for member in family] == [True, True]
    processes.resume(process)
    processes.stop(process, signal.SIGTERM, 10)
    processes.kill_tree(family[1])


def test_killing_takes_the_children_along(runner: Runner) -> None:
    process = runner.start(PARENT, lines=2)
    family = processes.tree(process)
    assert len(family) == 2
    processes.kill_tree(process)
    assert not [member for member in family if processes.is_alive(member)]


def test_a_zombie_is_dead() -> None:
    with subprocess.Popen(["sleep", "600"]) as child:
        process = psutil.Process(child.pid)
        assert processes.is_alive(process)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.status() == psutil.STATUS_ZOMBIE
        assert not processes.is_alive(process)
        assert not processes.is_paused(process)
