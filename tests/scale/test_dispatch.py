"""Units are handed to actors and survive these, on a cluster that a test plays: no Ray is needed."""

from __future__ import annotations

import json
import sys
import types

import pytest

from mmencode.errors import EncoderError, IdentityError, MissingPackageError
from mmencode.scale import ClusterError, Job, Output, UnitReport, embed
from mmencode.scale.actors import Orders, require_same, versions
from mmencode.scale.cluster import Shares, connect, divide_among
from mmencode.scale.dispatch import Dispatch
from mmencode.scale.units import File, Unit


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        super().__init__(str(cause))
        self.cause = cause


class ActorDiedError(RayError):
    pass


class ActorUnavailableError(RayError):
    pass


NOWHERE = object()  # the answer of an actor without a place


class PlayedRay:
    """A cluster whose actors do what a script says: for each call of `encode`, an answer by the unit's name.

    An answer is an exception, or None for success; with each call the unit's first answer is used up.
    `starts` and `nodes` are the same for starts and for questions after the node. Nodes in `gone` are dead.
    """

    exceptions = types.SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, ActorUnavailableError=ActorUnavailableError
    )

    def __init__(self, script=None, starts=(), nodes=(), gone=(), silent=0):
        self.script = {name: list(answers) for name, answers in (script or {}).items()}
        self.starts, self.places, self.gone = list(starts), list(nodes), set(gone)
        self.silent = silent
        self.results = {}
        self.alive = set()
        self.most = 0
        self.encoded = []

    def put(self, value):
        return value

    def nodes(self):
        return [{"NodeID": name, "Alive": name not in self.gone} for name in ("a", "b")]

    def remote(self, **options):
        self.options = options
        return lambda made: types.SimpleNamespace(remote=lambda: PlayedActor(self))

    def answer(self, value):
        ref = object()
        self.results[ref] = value
        return ref

    def wait(self, refs, timeout):
        assert refs, "nothing is awaited, and nothing would ever come"
        if timeout and self.silent:
            self.silent -= 1
            return [], refs
        refs = [ref for ref in refs if self.results[ref] is not NOWHERE]
        return refs[:1], refs[1:]

    def get(self, ref, timeout=None):
        found = self.results[ref]
        if isinstance(found, Exception):
            raise found
        return found

    def kill(self, actor, no_restart):
        assert no_restart
        self.alive.discard(actor)


class PlayedActor:
    def __init__(self, ray):
        self.ray = ray
        ray.alive.add(self)
        ray.most = max(ray.most, len(ray.alive))
        self.node = self._call(lambda: ray.places.pop(0) if ray.places else "a")
        self.start = self._call(lambda *_: ray.starts.pop(0) if ray.starts else None)
        self.encode = self._call(self._encode)

    def _call(self, make):
        return types.SimpleNamespace(remote=lambda *given: self.ray.answer(make(*given)))

    def _encode(self, unit):
        assert self in self.ray.alive
        name = str(unit)
        answers = self.ray.script.get(name)
        answer = answers.pop(0) if answers else None
        if isinstance(answer, Exception):
            return answer
        self.ray.encoded.append(name)
        return UnitReport(name, name, 1)


def unit(name):
    return Unit("tar", (File(f"/{name}", name, 1, ""),))


JOB = Job("space", "text")
NAMES = ["one", "two", "three", "four"]


@pytest.fixture
def dispatch(tmp_path):
    def run(ray, count=2):
        orders = Orders(None, JOB, "text", str(tmp_path / "out"), unit("one"), versions())
        return list(Dispatch(ray, orders, Shares(count, 1, 0)).run(map(unit, NAMES)))

    run.failures = lambda: list(Output(str(tmp_path / "out")).read_failures())
    return run


def test_each_unit_is_encoded_once_on_no_more_actors_than_asked(dispatch):
    ray = PlayedRay()
    reports = dispatch(ray, count=3)
    assert sorted(report.unit for report in reports) == sorted(ray.encoded) == sorted(NAMES)
    assert ray.most == 3
    assert not ray.alive
    assert (ray.options["max_restarts"], ray.options["max_task_retries"]) == (0, 0)


def test_no_more_actors_are_started_than_there_are_units(dispatch):
    ray = PlayedRay()
    dispatch(ray, count=50)
    assert ray.most == len(NAMES)


@pytest.mark.parametrize("deaths", [1, 2])
def test_a_unit_whose_actor_died_is_encoded_by_another(dispatch, deaths):
    ray = PlayedRay({"two": [ActorDiedError("gone")] * deaths})
    reports = dispatch(ray)
    assert sorted(ray.encoded) == sorted(NAMES)
    assert not any(report.error for report in reports)
    assert not ray.alive


@pytest.mark.parametrize("count", [1, 2, 4])
def test_a_unit_whose_actor_dies_three_times_is_recorded(dispatch, count):
    ray = PlayedRay({"two": [ActorDiedError("it died\nat length")] * 3})
    reports = dispatch(ray, count)
    assert sorted(ray.encoded) == ["four", "one", "three"]
    (failed,) = [report for report in reports if report.error]
    assert "died 3 times: it died" in failed.error
    (failure,) = dispatch.failures()
    assert (failure.key, failure.source, failure.fault) == (None, "two", "process")
    assert "at length" not in failure.message


def test_deaths_with_a_node_say_less_about_the_unit(dispatch):
    lost = ActorDiedError("its node died")
    reports = dispatch(PlayedRay({"two": [lost] * 9}, gone="a"))
    assert not any(report.error for report in reports)
    reports = dispatch(PlayedRay({"two": [lost] * 10}, gone="a"))
    assert [report.error for report in reports if report.error] == [
        "two: the process that encoded it died 10 times with its node: its node died"
    ]


def test_an_actor_that_cant_be_reached_is_asked_until_it_is_known_to_be_dead(dispatch):
    away, dead = ActorUnavailableError("away"), ActorDiedError("dead")
    nodes = ["a", away, away, dead]
    ray = PlayedRay({"one": [away]}, nodes=nodes)
    dispatch(ray, count=1)
    assert sorted(ray.encoded) == sorted(NAMES)
    assert not ray.alive


def test_an_actor_that_is_back_without_its_answer_is_replaced(dispatch):
    ray = PlayedRay({"one": [ActorUnavailableError("away")]})
    dispatch(ray, count=1)
    assert sorted(ray.encoded) == sorted(NAMES)
    assert not ray.alive


def test_an_actor_that_is_never_reached_again_is_given_up(dispatch):
    away = ActorUnavailableError("away")
    ray = PlayedRay({"one": [away]}, nodes=["a", *[away] * 60])
    dispatch(ray, count=1)
    assert sorted(ray.encoded) == sorted(NAMES)


@pytest.mark.parametrize("where", ["starts", "script"])
def test_errors_that_are_no_units_fault_end_the_run(dispatch, where):
    error = RayTaskError(IdentityError("another space"))
    ray = PlayedRay(starts=[error]) if where == "starts" else PlayedRay({"two": [error]})
    with pytest.raises(IdentityError, match="another space"):
        dispatch(ray)
    assert not ray.alive


def test_an_error_that_came_without_its_cause_ends_the_run(dispatch):
    with pytest.raises(EncoderError, match="an actor failed"):
        dispatch(PlayedRay(starts=[RayTaskError(None)]))


def test_actors_that_die_while_they_load_become_fewer_and_then_none(dispatch):
    dead = ActorDiedError("out of memory")
    with pytest.warns(RuntimeWarning, match="goes on with 1"):
        dispatch(PlayedRay(starts=[dead] * 3))
    with pytest.warns(RuntimeWarning), pytest.raises(EncoderError, match="out of memory"):
        dispatch(PlayedRay(starts=[dead] * 6))


def test_actors_without_a_place_are_mentioned_once(dispatch, monkeypatch):
    monkeypatch.setattr("mmencode.scale.dispatch._PATIENCE", -1.0)
    ray = PlayedRay(nodes=[NOWHERE] * 2, silent=3)
    with pytest.warns(RuntimeWarning, match="2 of 2 actors wait for a place") as found:
        dispatch(ray)
    assert len(found) == 1


def resources(*nodes):
    return types.SimpleNamespace(nodes=lambda: [{"Alive": True, "Resources": each} for each in nodes])


CPUS = resources({"CPU": 8.0}, {"CPU": 4.0}, {"memory": 1.0})
GPUS = resources({"CPU": 64.0, "GPU": 8.0}, {"CPU": 16.0, "GPU": 1.0}, {"CPU": 32.0})


@pytest.mark.parametrize(
    ("cluster", "device", "actors", "shares"),
    [
        (CPUS, "auto", None, Shares(2, 4, 0)),
        (CPUS, "cpu", 3, Shares(3, 4, 0)),
        (CPUS, "auto", 12, Shares(12, 1, 0)),
        (CPUS, "auto", 100, Shares(100, 1, 0)),
        (GPUS, "auto", None, Shares(9, 8, 1)),
        (GPUS, "cuda:1", 2, Shares(2, 8, 1)),
        (GPUS, ["cuda:0", "cuda:1"], None, Shares(9, 8, 1)),
        (GPUS, "cpu", None, Shares(3, 16, 0)),
    ],
)
def test_a_cluster_is_divided_by_its_devices(cluster, device, actors, shares):
    assert divide_among(cluster, device, actors) == shares


@pytest.mark.parametrize(
    ("cluster", "device", "words"),
    [(CPUS, "cuda", "has no GPU"), (resources({}), "auto", "has no CPU"), (GPUS, "mps", "can't be had")],
)
def test_devices_that_a_cluster_hasnt_are_refused(cluster, device, words):
    with pytest.raises(ClusterError, match=words):
        divide_among(cluster, device, None)


@pytest.mark.parametrize(
    ("found", "words"), [(("3.9", "1"), "Python is 3.9 on the node n"), (("3.1", ""), "mmencode is missing")]
)
def test_other_versions_are_named(found, words):
    with pytest.raises(ClusterError, match=words):
        require_same(("3.1", "1"), found, "n")


def test_without_ray_nothing_is_read(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingPackageError, match="clusters need ray"):
        embed(str(tmp_path / "missing"), str(tmp_path / "out"), "text", ray="auto")


def test_actors_need_a_cluster(tmp_path):
    with pytest.raises(ValueError, match="name one with ray"):
        embed(str(tmp_path / "missing"), str(tmp_path / "out"), "text", actors=2)


class StartedRay:
    """Ray before and after a connection: `fails` is what it says to that."""

    exceptions = types.SimpleNamespace(RayError=RayError)

    def __init__(self, fails=None, address=""):
        self.fails, self.address, self.calls = fails, address, []

    def is_initialized(self):
        return bool(self.address)

    def get_runtime_context(self):
        return types.SimpleNamespace(gcs_address=self.address)

    def init(self, address, **options):
        self.calls.append((address, options))
        if self.fails is not None:
            raise self.fails

    def shutdown(self):
        self.calls.append("shutdown")


def test_a_cluster_of_another_python_is_refused_in_one_sentence(monkeypatch):
    ray = StartedRay(RuntimeError("Version mismatch: the cluster was started with Python 3.9"))
    monkeypatch.setitem(sys.modules, "ray", ray)
    with pytest.raises(ClusterError, match=r"host:1 can't be used: .*Version mismatch"), connect("host:1"):
        pass
    assert ray.calls[-1] == "shutdown"


def test_only_a_cluster_of_ones_own_is_configured_and_only_a_connection_of_ones_own_ended(monkeypatch):
    modules = sys.modules
    monkeypatch.setitem(modules, "ray", ray := StartedRay())
    with connect("auto"):
        assert "shutdown" not in ray.calls
    assert "include_dashboard" not in ray.calls[0][1]
    assert ray.calls[-1] == "shutdown"
    with connect("local"):
        assert ray.calls[-1][1]["include_dashboard"] is False
    monkeypatch.setitem(modules, "ray", ray := StartedRay(address="here:1"))
    with connect("auto"), connect("here:1"):
        pass
    assert ray.calls == []
    with pytest.raises(ClusterError, match="connected to the cluster here:1"), connect("there:1"):
        pass


def test_orders_are_refused_where_the_output_isnt_seen(space, tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_text(json.dumps({"text": "one"}))
    seen = Unit("lines", (File(str(source), "a.jsonl", 1, ""),))
    gone = Unit("lines", (File(str(tmp_path / "missing"), "missing", 1, ""),))
    job = Job(space.id, "text")
    asked = (space.journey(), job, "text", str(tmp_path / "out"))
    with pytest.raises(ClusterError, match=r"job\.json isn't in it"):
        Orders(*asked, seen, versions()).carry_out("cpu", 1)
    Output(str(tmp_path / "out")).claim(job, space.card)
    with pytest.raises(ClusterError, match="missing"):
        Orders(*asked, gone, versions()).carry_out("cpu", 1)
    actor = Orders(*asked, seen, versions()).carry_out("cpu", 1)
    assert actor._space.runtime.workers == actor._space.runtime.cores == 1
    actor._space.close()
