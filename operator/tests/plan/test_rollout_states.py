"""Every reachable state of a rollout in small clusters, with a failure at any step.

The model has what decides: the Deployment's controller with two ReplicaSets (`syncRollout`, `scale` of a paused one),
a scheduler, kubelets, others who take and release GPUs, and the operator, each taking single steps in any order. Its
rules for scaling are those of kubernetes/pkg/controller/deployment/{rolling,sync}.go.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import pytest

from triton_vllm_operator.desired.rollout_settings import RolloutSettings
from triton_vllm_operator.plan.rollout import RolloutState, Step, StepKind, Strategy, next_step


@dataclass(frozen=True, slots=True)
class Case:
    """What does not change. `events`: how often others take or release a GPU, or an old pod fails."""

    replicas: int
    gpus: int
    strategy: Strategy
    max_unavailable: int | None
    proceed: bool
    events: int = 1


@dataclass(frozen=True, slots=True)
class Set:
    """A ReplicaSet: its pods without a node, on a node and not ready, ready, and ended with an error."""

    unplaced: int = 0
    starting: int = 0
    ready: int = 0
    broken: int = 0

    @property
    def size(self) -> int:
        return self.unplaced + self.starting + self.ready + self.broken

    @property
    def gpus(self) -> int:
        return self.size - self.unplaced

    def without(self, count: int) -> tuple[Set, int, int]:
        """As the ReplicaSet's controller deletes: pods that are not ready first. With the GPUs and ready pods lost."""
        left, gpus = self, 0
        for name in ("unplaced", "broken", "starting", "ready"):
            gone = min(count, getattr(left, name))
            left, count = replace(left, **{name: getattr(left, name) - gone}), count - gone
            gpus += gone if name != "unplaced" else 0
        return left, gpus, self.ready - left.ready


@dataclass(frozen=True, slots=True)
class World:
    """The cluster. `first` is the previous revision, `second` the one of the spec; `floor`: the one announced last."""

    first: Set
    second: Set
    others: int
    ending: int = 0
    settings: RolloutSettings = field(default_factory=RolloutSettings)
    floor: int = 0
    deployed: bool = False  # whether the Deployment has been given the second revision
    failed: bool = False  # whether it is recorded that the second revision has failed
    undoing: bool = False  # whether the Deployment has been given the first one again
    told: StepKind | None = None
    events: int = 0

    def free(self, case: Case) -> int:
        return case.gpus - self.first.gpus - self.second.gpus - self.ending - self.others

    @property
    def ready(self) -> int:
        return self.first.ready + self.second.ready

    def sets(self) -> tuple[Set, Set]:
        """(new, old) as the Deployment has them."""
        return (self.first, self.second) if self.undoing else (self.second, self.first)

    def with_sets(self, new: Set, old: Set) -> World:
        return replace(self, first=new, second=old) if self.undoing else replace(self, first=old, second=new)

    def put(self, name: str, pods: Set) -> World:
        return replace(self, first=pods) if name == "first" else replace(self, second=pods)


def state_of(case: Case, world: World) -> RolloutState:
    new, old = (world.first, world.second) if world.failed else (world.second, world.first)
    return RolloutState(
        replicas=case.replicas,
        old=old.size,
        old_ready=old.ready,
        new=new.size,
        new_ready=new.ready,
        unplaced=new.unplaced,
        short=new.unplaced if world.free(case) == 0 else 0,
        ending=world.ending,
        room=world.free(case),
        surging=world.settings.max_surge > 0 or (world.settings.size or 0) > case.replicas,
        strategy=case.strategy,
        max_unavailable=case.max_unavailable,
        proceed=case.proceed,
        undoing=world.failed,
    )


def decide(case: Case, world: World) -> Step:
    return next_step(state_of(case, world))


def operate(case: Case, world: World) -> World:
    """The operator's step: the revision and the settings are one write."""
    step = decide(case, world)
    floor = min(step.floor, world.ready)
    return replace(world, settings=step.settings, deployed=True, undoing=world.failed, told=step.kind, floor=floor)


def control(case: Case, world: World) -> World:
    """The Deployment's controller: one scaling of one ReplicaSet."""
    if not world.deployed:
        return world
    new, old = world.sets()
    surge, unavailable = world.settings.max_surge, min(world.settings.max_unavailable, case.replicas)
    if world.settings.paused_because:
        return _scale_paused(world.settings.size or case.replicas, world, new, old, surge)
    total = new.size + old.size
    if new.size < case.replicas and total < case.replicas + surge:
        count = min(case.replicas + surge - total, case.replicas - new.size)
        return world.with_sets(replace(new, unplaced=new.unplaced + count), old)
    if new.size > case.replicas:
        return _shrink(world, new, old, new_count=new.size - case.replicas)
    return _shrink_old(case, world, new, old, case.replicas - unavailable)


def _shrink_old(case: Case, world: World, new: Set, old: Set, least: int) -> World:
    """reconcileOldReplicaSets: first pods that are not available, then as many as may be unavailable."""
    if old.size == 0:
        return world
    most = new.size + old.size - least - (new.size - new.ready)
    if most <= 0:
        return world
    unhealthy = min(most, old.size - old.ready)
    if unhealthy:
        world = _shrink(world, new, old, old_count=unhealthy)
        new, old = world.sets()
    spare = new.ready + old.ready - least
    return _shrink(world, new, old, old_count=min(spare, old.size)) if spare > 0 else world


def _scale_paused(replicas: int, world: World, new: Set, old: Set, surge: int) -> World:
    """scale(): one active ReplicaSet gets all replicas; two of them are scaled to replicas + maxSurge together, but the
    old one to 0 when all pods of the new one are ready.
    """
    if not (new.size and old.size):
        alone = new if new.size else old
        if alone.size == replicas:
            return world
        if alone.size > replicas:
            count = alone.size - replicas
            return _shrink(world, new, old, **{"new_count" if alone is new else "old_count": count})
        more = replace(alone, unplaced=alone.unplaced + replicas - alone.size)
        return world.with_sets(more, old) if alone is new else world.with_sets(new, more)
    if new.ready == new.size == replicas:
        return _shrink(world, new, old, old_count=old.size)
    add = replicas + surge - new.size - old.size
    largest_is_new = new.size >= old.size if add > 0 else new.size > old.size
    if add < 0:
        return _shrink(world, new, old, **{"new_count" if largest_is_new else "old_count": -add})
    if add > 0:
        if largest_is_new:
            return world.with_sets(replace(new, unplaced=new.unplaced + add), old)
        return world.with_sets(new, replace(old, unplaced=old.unplaced + add))
    return world


def _shrink(world: World, new: Set, old: Set, *, new_count: int = 0, old_count: int = 0) -> World:
    new, gpus, lost = new.without(new_count)
    old, more, more_lost = old.without(old_count)
    left = replace(world.with_sets(new, old), ending=world.ending + gpus + more)
    assert not (lost or more_lost) or left.ready >= world.floor, f"below the announced {world.floor}: {world} -> {left}"
    return left


def rolls(world: World) -> bool:
    return world.deployed and not world.settings.paused_because and not world.failed


def cooperative(case: Case, world: World) -> Iterator[World]:
    """What happens by itself, without a failure and without others."""
    yield operate(case, world)
    yield control(case, world)
    if rolls(world) and world.second.broken:
        yield replace(world, failed=True)  # the operator records it
    if world.ending:
        yield replace(world, ending=world.ending - 1)
    for name in ("first", "second"):
        pods: Set = getattr(world, name)
        if pods.unplaced and world.free(case) > 0:
            placed = replace(pods, unplaced=pods.unplaced - 1, starting=pods.starting + 1)
            yield world.put(name, placed)
        if pods.starting:
            yield world.put(name, replace(pods, starting=pods.starting - 1, ready=pods.ready + 1))


def failing(case: Case, world: World) -> Iterator[World]:
    """What may go wrong: a new pod ends, misses its deadline; an old one ends; others take or release a GPU."""
    new = world.second
    if new.starting:
        yield replace(world, second=replace(new, starting=new.starting - 1, broken=new.broken + 1))
    if rolls(world) and new.size > new.ready:
        yield replace(world, failed=True)
    if not world.events:
        return
    spent = replace(world, events=world.events - 1)
    if world.free(case) > 0:
        yield replace(spent, others=world.others + 1)
    if world.others:
        yield replace(spent, others=world.others - 1)
    for name in ("first", "second"):
        pods: Set = getattr(world, name)
        if pods.ready:
            yield spent.put(name, replace(pods, ready=pods.ready - 1, starting=pods.starting + 1))


def reachable(case: Case) -> tuple[set[World], dict[World, set[World]]]:
    """Every state that can be reached, and by what each is reached in what happens by itself."""
    seen: set[World] = set()
    before: dict[World, set[World]] = {}
    waiting: deque[World] = deque()
    for others in range(case.gpus - case.replicas + 1):
        waiting.append(World(Set(ready=case.replicas), Set(), others, events=case.events))
    seen.update(waiting)
    while waiting:
        world = waiting.popleft()
        helped = set(cooperative(case, world))
        for following in helped:
            before.setdefault(following, set()).add(world)
        for following in helped | set(failing(case, world)):
            if following not in seen:
                seen.add(following)
                waiting.append(following)
    return seen, before


def ends(case: Case, world: World) -> bool:
    """A state that may last: all pods of one revision, or a wait that the status reports."""
    if operate(case, world) != world or control(case, world) != world:
        return False
    new, old = world.sets()
    if old.size == 0 and new.ready == case.replicas:
        return True
    if world.told is StepKind.HELD:
        # Nothing has been taken: what served goes on.
        return world.free(case) == 0 and case.strategy == "Auto" and not case.proceed
    # Others hold the GPUs: InsufficientGPUs reports which; a revision that does not start has a deadline.
    return new.unplaced > 0 and world.free(case) == 0 and world.ending == 0


def cases(replicas: int) -> Iterator[Case]:
    for gpus in range(replicas, 7):
        for strategy, limits in (("Auto", (None, 0, 2)), ("Surge", (None,)), ("Replace", (None, 2))):
            for limit in limits:
                holds = strategy == "Auto" and (replicas == 1 or limit == 0)
                for proceed in (False, True) if holds else (False,):
                    # Each event multiplies the states: others disturb where the strategy follows the GPUs.
                    events = 1 if strategy == "Auto" and limit is None and replicas < 4 else 0
                    yield Case(replicas, gpus, strategy, limit, proceed, events)  # type: ignore[arg-type]


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_no_ready_pod_is_lost_below_the_announced_floor_and_nothing_is_ever_stuck(replicas: int) -> None:
    checked = 0
    for case in cases(replicas):
        seen, before = reachable(case)
        checked += len(seen)
        good = {world for world in seen if ends(case, world)}
        waiting = deque(good)
        while waiting:
            for world in before.get(waiting.popleft(), ()):
                if world not in good:
                    good.add(world)
                    waiting.append(world)
        stuck = seen - good
        assert not stuck, f"{len(stuck)} states never end, such as {min(stuck, key=str)} of {case}"
    assert checked > 1000


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_an_undo_needs_no_gpu_that_the_rollout_did_not_hold(replicas: int) -> None:
    for case in cases(replicas):
        quiet = replace(case, events=0)
        seen, _ = reachable(quiet)
        # Without others who take GPUs, a restored pod never waits for one that none of the own pods holds.
        for world in seen:
            if world.failed and world.first.unplaced and world.ending == 0 and world.free(quiet) == 0:
                step = decide(quiet, world)
                assert step.kind is StepKind.REPLACING or world.second.size > 0, (quiet, world)
        most = max((w.first.size + w.second.size for w in seen if not w.failed), default=0)
        assert all(w.first.size + w.second.size <= most for w in seen if w.failed), quiet


@pytest.mark.parametrize("replicas", [1, 2, 3, 4])
def test_a_paused_rollout_deletes_no_pod_also_when_its_new_pods_become_ready(replicas: int) -> None:
    paused = 0
    for case in cases(replicas):
        seen, _ = reachable(replace(case, events=0))
        for world in seen:
            step = next_step(replace(state_of(case, world), paused=True))
            if step.kind is not StepKind.PAUSED or not world.deployed:
                continue
            paused += 1
            new = world.second
            later = replace(world, settings=step.settings, floor=0)
            for one in (new, replace(new, starting=0, ready=new.ready + new.starting)):
                before = replace(later, second=one)
                after = control(case, before)
                for ours, theirs in ((after.first, before.first), (after.second, before.second)):
                    assert ours.size >= theirs.size, (case, before, after)
    assert paused > 100


@pytest.mark.parametrize("replicas", [2, 3, 4])
def test_auto_never_loses_the_last_ready_pod(replicas: int) -> None:
    for case in cases(replicas):
        if case.strategy != "Auto":
            continue
        seen, _ = reachable(replace(case, events=0))
        for world in seen:
            if not (world.second.broken or world.failed):
                assert world.ready > 0, (case, world)
