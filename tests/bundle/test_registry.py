"""Publishing, promoting and rolling back: each is one change, seen whole or not at all."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from shop import tiny_bundle, tiny_contents
from vitrina.bundle import bundle as layout
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.registry import Registry
from vitrina.bundle.writer import write_bundle
from vitrina.errors import BundleError
from vitrina.index.base import IndexInfo


@pytest.fixture
def versions(registry: Registry, tmp_path: Path) -> Sequence[str]:
    """Three published versions, oldest first; the first is the current one."""
    for seed in (1, 2):
        registry.publish(tiny_bundle(tmp_path / "drafts", seed=seed), {})
    return [summary.version for summary in registry.list()]


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_publishing_copies_the_draft_and_fills_in_its_metrics(tmp_path: Path) -> None:
    registry, draft = Registry(tmp_path / "bundles"), tiny_bundle(tmp_path)
    version = registry.publish(draft, {"recall_at_10": 0.31})
    shutil.rmtree(draft)
    published = load_bundle(registry.path(version))
    assert published.manifest.version == version == draft.name
    assert published.metrics == {"recall_at_10": 0.31}
    assert registry.current() is None, "publishing does not promote"


def test_a_version_is_published_once(registry: Registry, bundle_path: Path) -> None:
    with pytest.raises(BundleError, match="already exists"):
        registry.publish(bundle_path, {})
    assert registry.list()[0].metrics == {"recall_at_10": 0.3}


def test_a_damaged_draft_is_not_published(registry: Registry, tmp_path: Path) -> None:
    draft = tiny_bundle(tmp_path / "drafts", seed=1)
    flip_a_byte(draft / layout.ENCODER)
    with pytest.raises(BundleError, match=layout.ENCODER):
        registry.publish(draft, {})
    assert len(registry.list()) == 1


def test_publishing_interrupted_leaves_no_version(registry: Registry, tmp_path: Path) -> None:
    draft = tiny_bundle(tmp_path / "drafts", seed=1)
    with pytest.raises(TypeError):
        registry.publish(draft, {"not JSON": object()})
    assert len(registry.list()) == 1
    assert not list(registry.root.glob("*partial*"))


def test_what_a_killed_publish_left_is_no_version_and_goes_with_the_next(
    registry: Registry, tmp_path: Path
) -> None:
    leftover = registry.root / ".20200101T000000-abcd.partial-4711"
    shutil.copytree(registry.path(registry.list()[0].version), leftover)
    assert len(registry.list()) == 1
    registry.publish(tiny_bundle(tmp_path / "drafts", seed=1), {})
    assert not leftover.exists()
    assert len(registry.list()) == 2


def test_a_promotion_is_recorded_with_its_reason(
    registry: Registry, versions: Sequence[str]
) -> None:
    registry.promote(versions[2], reason="better on new items")
    assert registry.current() == versions[2]
    last = registry.history()[-1]
    assert (last.version, last.reason, last.action) == (
        versions[2],
        "better on new items",
        "promote",
    )
    assert not last.forced


def test_rolling_back_returns_to_the_version_before(
    registry: Registry, versions: Sequence[str]
) -> None:
    first, second, third = versions
    registry.promote(second)
    registry.promote(third)
    assert registry.rollback("conversion fell") == second
    assert registry.rollback() == first
    with pytest.raises(BundleError, match=f"before the current bundle .{first}."):
        registry.rollback()
    assert registry.current() == first
    assert [change.action for change in registry.history()][-2:] == ["rollback", "rollback"]


def test_after_a_rollback_the_next_promotion_builds_on_the_older_one(
    registry: Registry, versions: Sequence[str]
) -> None:
    first, second, third = versions
    registry.promote(second)
    registry.rollback()
    registry.promote(third)
    assert registry.rollback() == first


def test_promoting_the_current_version_again_changes_nothing_for_rollback(
    registry: Registry, versions: Sequence[str]
) -> None:
    registry.promote(versions[1])
    registry.promote(versions[1])
    assert registry.rollback() == versions[0]


def test_a_rollback_in_an_empty_registry_says_what_to_do(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "none")
    assert registry.current() is None
    assert registry.list() == []
    with pytest.raises(BundleError, match="'vitrina publish' adds one"):
        registry.rollback()


@pytest.mark.parametrize("name", [*layout.FILES, layout.INDEX])
def test_a_broken_bundle_cannot_be_promoted_even_by_force(
    registry: Registry, versions: Sequence[str], name: str
) -> None:
    flip_a_byte(registry.path(versions[1]) / name)
    with pytest.raises(BundleError, match=name):
        registry.promote(versions[1], reason="I know better", force=True)
    assert registry.current() == versions[0]


def test_a_rollback_to_a_broken_bundle_is_refused(
    registry: Registry, versions: Sequence[str]
) -> None:
    registry.promote(versions[1])
    flip_a_byte(registry.path(versions[0]) / layout.INDEX)
    with pytest.raises(BundleError, match=layout.INDEX):
        registry.rollback()
    assert registry.current() == versions[1]


@pytest.mark.parametrize("version", ["20990101T000000-ffff", "..", "", ".lock"])
def test_an_unknown_version_is_answered_with_those_that_exist(
    registry: Registry, version: str
) -> None:
    with pytest.raises(BundleError) as caught:
        registry.promote(version)
    assert registry.list()[0].version in str(caught.value)


def test_a_failed_gate_stops_a_promotion_unless_forced_with_a_reason(
    registry: Registry, tmp_path: Path
) -> None:
    draft = tiny_bundle(tmp_path / "drafts", seed=1)
    failed = {"failed_gates": ["recall@10 fell from 0.31 to 0.12."]}
    version = registry.publish(draft, failed)
    for arguments in ({}, {"force": True}, {"reason": "looks fine"}):
        with pytest.raises(BundleError, match=r"recall@10 fell from 0\.31 to 0\.12\."):
            registry.promote(version, **arguments)
    registry.promote(version, reason="a demo without purchases", force=True)
    assert registry.current() == version
    assert registry.history()[-1].forced


def test_an_index_under_its_recall_target_is_a_failed_gate(
    registry: Registry, tmp_path: Path
) -> None:
    contents, towers = tiny_contents(seed=1)
    contents = replace(contents, index_info=IndexInfo("ivf", 0.91, 0.99, nlist=64, nprobe=1))
    with towers:
        version = registry.publish(write_bundle(tmp_path / "draft", contents), {})
    with pytest.raises(BundleError, match=r"0\.9100 .* target is 0\.9900"):
        registry.promote(version)


def test_the_list_shows_what_one_chooses_by(registry: Registry, versions: Sequence[str]) -> None:
    first, *others = registry.list()
    assert first.current
    assert not any(other.current for other in others)
    assert (first.items, first.created_at) == (300, "2026-01-05T09:00:00+00:00")
    assert first.index == IndexInfo("exact", 1.0, 0.99)
    assert first.metrics == {"recall_at_10": 0.3}


def test_a_broken_bundle_is_listed_with_its_problem(
    registry: Registry, versions: Sequence[str]
) -> None:
    flip_a_byte(registry.path(versions[1]) / "manifest.json")
    problems = [summary.problem for summary in registry.list()]
    assert problems[0] is problems[2] is None
    assert problems[1] is not None
    assert "manifest.json" in problems[1]


@pytest.mark.parametrize("content", [b"", b"{", b'{"version": 3}', b"[]"])
def test_a_damaged_pointer_says_how_to_mend_it(registry: Registry, content: bytes) -> None:
    (registry.root / "current.json").write_bytes(content)
    with pytest.raises(BundleError, match="Remove it and promote a bundle again"):
        registry.current()


def test_readers_see_the_old_version_or_the_new_and_never_half(
    registry: Registry, versions: Sequence[str]
) -> None:
    done, seen = threading.Event(), set()

    def read() -> None:
        while not done.is_set():
            seen.add(registry.current())

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for number in range(20):
            registry.promote(versions[number % 2])
        done.set()
    for reader in readers:
        reader.result()
    assert seen <= set(versions[:2])


def test_two_who_promote_at_once_both_enter_the_history(
    registry: Registry, versions: Sequence[str]
) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(registry.promote, [versions[1], versions[2]] * 4))
    assert len(registry.history()) == 1 + 8
    assert registry.history()[-1].version == registry.current()


class PromotionsAndRollbacks(RuleBasedStateMachine):
    """Any sequence of promotions and rollbacks walks a stack of versions."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.registry = Registry(Path(self.folder.name))
        for seed in range(3):
            tiny_bundle(self.registry.root, seed=seed, items=20)
        self.versions = [summary.version for summary in self.registry.list()]
        self.stack: list[str] = []
        self.changes = 0

    @rule(number=st.integers(0, 2))
    def promote(self, number: int) -> None:
        version = self.versions[number]
        self.registry.promote(version)
        self.changes += 1
        if self.stack[-1:] != [version]:
            self.stack.append(version)

    @rule()
    def rollback(self) -> None:
        if len(self.stack) < 2:
            with pytest.raises(BundleError):
                self.registry.rollback()
        else:
            self.stack.pop()
            self.changes += 1
            assert self.registry.rollback() == self.stack[-1]

    @invariant()
    def current_is_the_top_of_the_stack(self) -> None:
        assert self.registry.current() == (self.stack[-1] if self.stack else None)
        assert len(self.registry.history()) == self.changes
        current = [summary.version for summary in self.registry.list() if summary.current]
        assert current == self.stack[-1:]

    def teardown(self) -> None:
        self.folder.cleanup()


TestPromotionsAndRollbacks = PromotionsAndRollbacks.TestCase
TestPromotionsAndRollbacks.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None
)
