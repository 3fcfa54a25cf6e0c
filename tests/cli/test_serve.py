"""`mmencode serve` in a process of its own, as people start and end it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import processes
import pytest

httpx = pytest.importorskip("httpx", reason="the tests ask by httpx")
pytest.importorskip("uvicorn", reason="the extra serve isn't installed")

from typer.testing import CliRunner  # noqa: E402

from mmencode.cli import app  # noqa: E402

KEY = "a-key-of-thirty-two-characters-0"


@contextmanager
def started(*arguments, **environment):
    """The command with a free port, its URL, and a client of it."""
    command = [sys.executable, "-m", "mmencode.cli", "serve", "--port", "0", "--device", "cpu", *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with processes.started(command, env={**os.environ, **environment}, **options) as process:
        line = processes.read_line(process)
        assert line.startswith("http://")
        with httpx.Client(base_url=line.split()[0], timeout=120, trust_env=False) as client:
            deadline = time.monotonic() + 120
            while (answer := client.get("/ready")).status_code != 200:
                assert time.monotonic() < deadline, f"the server isn't ready: {answer.text}"
                time.sleep(0.1)
            yield process, client


def test_a_signal_ends_the_server_once_what_is_in_work_is_finished():
    with started("--modalities", "text") as (process, client):
        for count in (50, 200, 800, 2000):
            asking = Asking(client, [f"a text about number {number} " * 30 for number in range(count)])
            if asking.is_in_work():
                break  # else it was answered before anybody saw it
        process.send_signal(signal.SIGTERM)
        asking.thread.join(120)
        assert process.wait(120) == 0
        assert process.stderr.read() == ""
    assert asking.answers, "the server ended without an answer"
    (answer,) = asking.answers
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == count


class Asking:
    """A request for the vectors of texts, made in a thread."""

    def __init__(self, client, texts):
        self.client, self.texts, self.answers = client, texts, []
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self):
        self.answers.append(self.client.post("/v1/embeddings", json={"input": self.texts}))

    def is_in_work(self):
        """Wait until the server is at it; false where it was answered before."""
        while self.thread.is_alive():
            found = httpx.get(f"{self.client.base_url}/metrics", timeout=120, trust_env=False).text
            if "mmencode_requests_in_flight 2.0" in found:
                return True
            time.sleep(0.02)
        return False


def test_keys_come_from_the_environment_and_only_chosen_modalities_are_served():
    with started("--modalities", "text", MMENCODE_KEY=KEY) as (process, client):
        ready = client.get("/ready").json()
        assert client.post("/v1/embeddings", json={"input": "cat"}).status_code == 401
        headers = {"Authorization": f"Bearer {KEY}"}
        assert client.post("/v1/embeddings", json={"input": "cat"}, headers=headers).status_code == 200
        picture = {"input": ["data:image/png;base64,AAAA"], "modality": "image"}
        assert client.post("/v1/embeddings", json=picture, headers=headers).status_code == 400
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
    assert [list(space["modalities"]) for space in ready["spaces"].values()] == [["text"]]


def run(*arguments, **environment):
    return CliRunner().invoke(app, ["serve", *arguments], env=environment)


def test_an_address_that_others_reach_needs_a_key():
    done = run("--host", "0.0.0.0", MMENCODE_KEY="")
    assert done.exit_code == 1
    assert "without a key only this machine may ask" in done.stderr
    assert "--key-file" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--key", "short"), "key 1 is shorter"),
        (("--allow-url", "http://x/"), "no host"),
        (("--allow-network", "10.0.0.0/8"), "needs --allow-url"),
        (("--allow-url", "x", "--allow-network", "10.0.0.0.0"), "--allow-network"),
        (("default", "default"), "two of them have one name"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_loaded(arguments, said):
    done = run(*arguments)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())


def test_a_file_of_keys_is_read_without_comments_and_never_shown(tmp_path):
    from mmencode.cli.serve import _read_keys

    file = tmp_path / "keys"
    file.write_text(f"# ours\n{KEY}\n\n  {KEY}2  \n")
    file.chmod(0o600)
    assert _read_keys((), file) == (KEY, KEY + "2")


def test_a_file_without_keys_is_wrong_usage(tmp_path):
    (tmp_path / "keys").write_text("# none yet\n")
    done = run("--key-file", str(tmp_path / "keys"))
    assert done.exit_code == 2
    assert "there is no key" in " ".join(done.stderr.split())


def test_a_port_that_is_taken_is_an_error_with_a_remedy():
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run("--port", str(taken.getsockname()[1]))
    assert done.exit_code == 1
    assert "can't be listened on" in done.stderr


def test_a_missing_package_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "fastapi", None)
    done = run()
    assert done.exit_code == 1
    assert "pip install 'mmencode[serve]'" in done.stderr
