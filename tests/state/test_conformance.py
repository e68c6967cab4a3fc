"""What every store promises: what is acknowledged stays, once, in the right order."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable

import pytest

from stores import assert_same, event
from vitrina.errors import SessionTaken, StateError
from vitrina.schema import IMPRESSION, Event, History, Purchases
from vitrina.state.base import State, subject_of

MINUTE = 60_000_000
DAY = 86_400_000_000


def test_a_history_is_the_newest_events_oldest_first(state: State) -> None:
    state.append([event(f"e{n}", item=f"item-{n}", at=n * MINUTE) for n in range(10)])

    history = state.recent("ada", 3)

    assert history == History(
        ("item-7", "item-8", "item-9"), ("view",) * 3, tuple(n * MINUTE for n in (7, 8, 9))
    )
    assert state.recent("nobody", 3) == History()


def test_a_late_event_lands_where_it_belongs(state: State) -> None:
    state.append(
        [event("e1", item="bread", at=5 * MINUTE), event("e2", item="milk", at=9 * MINUTE)]
    )
    state.append([event("e3", item="eggs", at=7 * MINUTE)])
    assert list(state.recent("ada", 10).item_ids) == ["bread", "eggs", "milk"]


def test_an_event_sent_twice_counts_once(state: State) -> None:
    bought = event("e1", kind="purchase")
    assert state.append([bought, bought]) == 1
    assert state.append([bought]) == 0
    assert len(state.recent("ada", 10)) == 1
    assert list(state.purchases("ada").counts) == [1]


def test_a_session_has_a_history_of_its_own(state: State) -> None:
    state.append([Event("e1", "soup", "view", 1, session_id="ada")])
    assert len(state.recent("ada", 10)) == 0
    assert len(state.recent("session:ada", 10)) == 1
    assert state.shoppers(10) == []
    state.append([event(f"u{user}", user=user) for user in ("zoe", "bob", "session", "settle")])
    assert state.shoppers(10) == ["bob", "session", "settle", "zoe"]


def test_purchases_are_counted_by_item_and_the_old_ones_forgotten(state: State) -> None:
    day = 86_400_000_000
    state.append(
        [
            event("e1", kind="purchase", at=120 * day),
            event("e2", kind="purchase", at=60 * day),
            event("e3", kind="view", at=150 * day),
            event("e4", kind="purchase", item="tea", at=2 * day),
            event("e5", kind="purchase", at=180 * day),
        ]
    )
    bought = state.purchases("ada")
    assert bought.item_ids == ("soup", "tea")
    assert bought.counts == (3, 1)
    assert bought.last_us == (180 * day, 2 * day)
    assert bought.recent == pytest.approx((1 + math.exp(-1) + math.exp(-2), 1))


def test_the_log_is_read_back_in_order_and_whole(state: State) -> None:
    events = [
        Event("e1", "soup", "purchase", 5, "ada", None, "phone", 2.5, "r1", 3),
        Event("e2", "tea", "view", 1, session_id="s"),
    ]
    state.append(events)

    logged = state.read(after=0, limit=10)

    assert [Event(*row) for row in zip(*logged.columns.values(), strict=True)] == events
    first, second = logged.offsets
    assert first < second
    assert state.read(after=first, limit=10).columns["event_id"] == ("e2",)
    assert len(state.read(after=second, limit=10)) == 0


def test_what_was_shown_is_logged_and_in_no_history(opened: Callable[[], State]) -> None:
    shown = Event("e1", "soup", IMPRESSION, 5, "ada", request_id="r1", position=3)
    state = opened()
    state.append([shown, event("e2", item="tea", at=6)])
    assert state.read(after=0, limit=10).columns["event_id"] == ("e1", "e2")
    assert list(state.recent("ada", 10).item_ids) == ["tea"]
    state.load_histories([], [], [], [])  # replays the log
    assert list(state.recent("ada", 10).item_ids) == ["tea"]
    assert state.append([shown]) == 0


def test_an_import_replaces_the_one_before_and_keeps_logged_events(state: State) -> None:
    state.append([event("e1", item="online", kind="purchase", at=9)])
    state.load_histories(["ada"], ["old"], ["purchase"], [1])
    state.load_histories(["ada", "bob"], ["new", "new"], ["view", "view"], [2, 2])

    assert list(state.recent("ada", 10).item_ids) == ["new", "online"]
    assert list(state.purchases("ada").item_ids) == ["online"]
    assert state.shoppers(10) == ["ada", "bob"]
    assert state.shoppers(1) == ["ada"]


def test_any_order_any_duplication_gives_the_same_state(opened: Callable[[], State]) -> None:
    dice = random.Random(0)
    events = [
        Event(
            f"e{n}",
            dice.choice(["soup", "tea", "naïve ☕", "a\x01b", ""]),
            dice.choice(["view", "purchase"]),
            dice.randrange(6) * 30 * DAY,
            user_id=None if dice.random() < 0.3 else "bob",
            session_id="s",
        )
        for n in range(60)
    ]
    state, neighbour = opened(), opened()
    expected = {key: _projection(events, key) for key in ("bob", "session:s")}
    shuffled = events + dice.sample(events, 20)
    dice.shuffle(shuffled)
    for start in range(0, len(shuffled), 9):
        state.append(shuffled[start : start + 9])
        for key in expected:  # so that there are copies to be kept up to date
            neighbour.shopper(key, 100)
    for reader in (state, neighbour):
        for key, (history, purchases) in expected.items():
            assert reader.shopper(key, 100)[0] == history
            assert reader.recent(key, 7).timestamps_us == history.timestamps_us[-7:]
            assert_same(reader.shopper(key, 100)[1], purchases)
            assert_same(reader.purchases(key), purchases)


def _projection(events: list[Event], key: str) -> tuple[History, Purchases]:
    """The history and the purchases that follow from events, in the plainest way."""
    rows = {
        (each.timestamp_us, each.item_id.encode(), each.event_type)
        for each in events
        if each.history_key == key
    }
    moments, items, kinds = zip(*sorted(rows), strict=True)
    history = History(tuple(item.decode() for item in items), kinds, moments)
    bought: dict[bytes, list[int]] = {}
    for moment, item, kind in rows:
        if kind == "purchase":
            bought.setdefault(item, []).append(moment)
    columns = [
        (
            item.decode(),
            len(bought[item]),
            max(bought[item]),
            sum(math.exp(-(max(bought[item]) - each) / (60 * DAY)) for each in bought[item]),
        )
        for item in sorted(bought)
    ]
    return history, Purchases(*zip(*columns, strict=True))


def test_a_failed_append_stores_none_of_its_events(state: State) -> None:
    with pytest.raises(StateError):
        state.append([event("e1"), Event("e2", "soup", "view", "noon", user_id="ada")])  # type: ignore[arg-type]
    assert state.recent("ada", 10) == History()
    assert state.append([event("e1")]) == 1


def test_a_failing_event_of_one_caller_fails_nobody_elses(state: State) -> None:
    failed: list[int] = []

    def send(caller: int) -> None:
        for n in range(10):
            moment = "noon" if caller == 0 else n
            try:
                state.append([Event(f"{caller}-{n}", "soup", "view", moment, user_id="ada")])  # type: ignore[arg-type]
            except StateError:
                failed.append(caller)

    _in_threads(send, 6)
    assert failed == [0] * 10
    assert len(state.read(0, 100)) == 50


def test_concurrent_appenders_lose_and_double_nothing_and_a_reader_misses_nothing(
    opened: Callable[[], State],
) -> None:
    states = [opened(), opened()]
    seen: list[str] = []
    done = threading.Event()

    def follow() -> None:
        after, last = 0, False
        while not last:
            last = done.is_set()
            while rows := states[0].read(after, 7):
                assert list(rows.offsets) == sorted(rows.offsets)
                seen.extend(rows.columns["event_id"])
                after = rows.offsets[-1]

    follower = threading.Thread(target=follow)
    follower.start()
    new = [0] * 6

    def write(writer: int) -> None:
        for n in range(12):
            own = event(f"{writer}-{n}", item=f"{writer}-{n}", kind="purchase", at=n)
            shared = event(f"both-{n}", item=f"both-{n}", kind="purchase", at=n)
            new[writer] += states[writer % 2].append([own, shared])
            known = states[(writer + 1) % 2].recent("ada", 1000).item_ids
            assert f"{writer}-{n}" in known  # acknowledged here, read there

    _in_threads(write, 6)
    done.set()
    follower.join()
    assert sum(new) == 6 * 12 + 12
    assert len(seen) == len(set(seen)) == 6 * 12 + 12
    assert set(states[1].purchases("ada").counts) == {1}
    assert len(states[1].purchases("ada").item_ids) == 6 * 12 + 12


def _in_threads(work: Callable[[int], None], count: int) -> None:
    problems: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems, problems


def test_trimming_takes_old_events_out_of_the_log_and_not_out_of_histories(state: State) -> None:
    state.append([event(f"e{n}", kind="purchase", item=f"i{n}", at=n) for n in range(5_200)])
    offsets = state.read(0, 20_000).offsets
    assert state.trim(offsets[-1], received_before_us=0) == 0
    assert state.trim(offsets[-1], received_before_us=2**62) == 5_199
    assert list(state.read(0, 10).columns["event_id"]) == ["e5199"]
    assert state.event_id_at(offsets[-1]) == "e5199"
    assert state.event_id_at(offsets[0]) is None
    assert len(state.purchases("ada").item_ids) == 5_200
    state.append([event("new", at=1)])
    assert list(state.read(offsets[-1], 10).columns["event_id"]) == ["new"]


def test_imported_and_logged_events_count_once_in_either_order(opened: Callable[[], State]) -> None:
    state = opened()
    logged = [event("e1", kind="purchase", at=1), event("e2", kind="purchase", at=2)]
    state.append(logged[:1])
    state.shopper("ada", 10)
    state.load_histories(["ada"] * 2, ["soup"] * 2, ["purchase"] * 2, [1, 2])
    state.append(logged)
    for reader in (state, opened()):
        assert reader.recent("ada", 10).timestamps_us == (1, 2)
        assert list(reader.purchases("ada").counts) == [2]


def test_a_failed_import_leaves_everything_as_it_was(state: State) -> None:
    state.load_histories(["ada"], ["old"], ["view"], [1])
    with pytest.raises(StateError):
        state.load_histories(["bob", "ada"], ["new", None], ["view", "view"], [2, 2])  # type: ignore[list-item]
    assert list(state.recent("ada", 10).item_ids) == ["old"]


def test_a_session_joins_its_user_with_all_it_did_and_does(opened: Callable[[], State]) -> None:
    state, neighbour = opened(), opened()

    def visit(event_id: str, item: str, at: int, kind: str = "view") -> Event:
        return Event(event_id, item, kind, at, session_id="s1")

    state.append([event("u1", item="bread", at=10), event("u2", "tea", "purchase", at=DAY)])
    state.append([visit("v1", "milk", 5), visit("v2", "tea", 2 * DAY, "purchase")])
    for reader in (state, neighbour):  # copies of both, from before
        assert list(reader.recent("session:s1", 9).item_ids) == ["milk", "tea"]
        assert list(reader.recent("ada", 9).item_ids) == ["bread", "tea"]

    assert state.identify("s1", "ada")
    assert not neighbour.identify("s1", "ada")
    with pytest.raises(SessionTaken):
        state.identify("s1", "bob")
    neighbour.append([visit("v3", "jam", 3 * DAY)])

    for reader in (state, neighbour, opened()):
        for key in ("ada", "session:s1"):
            history, bought = reader.shopper(key, 9)
            assert list(history.item_ids) == ["milk", "bread", "tea", "tea", "jam"]
            assert (bought.item_ids, bought.counts) == (("tea",), (2,))
            assert bought.recent == pytest.approx((1 + math.exp(-1 / 60),))
    assert set(state.read(0, 10).columns["user_id"]) == {"ada"}
    state.load_histories(["session:s1", "ada"], ["oats", "rye"], ["view", "view"], [1, 2])
    assert neighbour.recent("ada", 2000).item_ids[:2] == ("oats", "rye")
    assert state.shoppers(10) == ["ada"]


def test_what_may_not_personalise_is_logged_and_in_no_history(state: State) -> None:
    private = Event("e1", "soup", "purchase", 1, "ada", purposes=("training",))
    open_ = Event("e2", "tea", "purchase", 2, "ada", purposes=("personalisation",))
    assert state.append([private, open_, event("e3", at=3)]) == 3
    assert list(state.read(0, 9).columns["purposes"]) == [
        ("training",),
        ("personalisation",),
        ("personalisation", "training", "audiences"),
    ]

    def check() -> None:
        history, bought = state.shopper("ada", 9)
        assert list(history.item_ids) == ["tea", "soup"]
        assert list(history.timestamps_us) == [2, 3]
        assert list(bought.item_ids) == ["tea"]

    check()
    # The lake has what may train, and an import of it does not bring it into the history.
    state.load_histories(["ada"] * 2, ["soup"] * 2, ["purchase", "view"], [1, 3])
    check()


def test_an_erased_person_is_gone_and_does_not_come_back(opened: Callable[[], State]) -> None:
    state, neighbour = opened(), opened()
    now_us = time.time_ns() // 1000
    hers = [event(f"e{n}", "soup", "purchase", at=n) for n in range(3)]
    visit = Event("v1", "milk", "view", 7, session_id="s1")
    withheld = Event("w1", "gin", "view", 8, "ada", purposes=("training",))
    state.append([*hers, visit, withheld, event("b1", user="bob")])
    state.identify("s1", "ada")
    state.load_histories(["ada", "bob"], ["old", "old"], ["view", "view"], [3, 3])
    for reader in (state, neighbour):
        assert len(reader.recent("ada", 9)) == 5
    with pytest.raises(SessionTaken):
        state.erase("session:s1")

    held = neighbour.export("ada")
    assert list(held.sessions) == ["s1"]
    assert [each["event_id"] for each in held.events] == ["e0", "e1", "e2", "v1", "w1"]
    assert (len(held.history), held.purchases.counts) == (5, (3,))
    receipt = state.erase("ada")
    assert (receipt.events, receipt.history, receipt.purchases) == (5, 5, 1)
    assert list(receipt.keys) == ["ada", "session:s1"]
    assert receipt.erased_at_us >= now_us

    # Sent again, and brought by an import of a lake that still has them; and a session's, too.
    assert neighbour.append([*hers, visit]) == 0
    state.load_histories(["ada", "session:s1", "bob"], ["old"] * 3, ["view"] * 3, [3, 5, 3])
    for reader in (state, neighbour, opened()):
        for key in ("ada", "session:s1"):
            assert reader.shopper(key, 9) == (History(), Purchases())
            left = reader.export(key)
            assert (left.sessions, left.events, len(left.history)) == ([], [], 0)
        assert len(reader.recent("bob", 9)) == 2
    assert list(state.read(0, 9).columns["event_id"]) == ["b1"]
    subjects = {each.subject for each in neighbour.erasures()}
    assert subjects == {subject_of(state.log_id(), key) for key in receipt.keys}
    assert {each.receipt_id for each in state.erasures()} == {receipt.receipt_id}
    # Somebody who comes back is new.
    assert state.append([event("new", at=receipt.erased_at_us + 1)]) == 1
    assert len(neighbour.recent("ada", 9)) == 1
    assert state.erase("nobody").events == 0


def test_a_clock_set_back_after_an_erasure_keeps_nobody_from_coming_back(
    opened: Callable[[], State], monkeypatch: pytest.MonkeyPatch
) -> None:
    state, neighbour = opened(), opened()
    erased_at_us = state.erase("ada").erased_at_us
    clock, hour = time.time_ns, 3_600_000_000
    monkeypatch.setattr(time, "time_ns", lambda: clock() - 1000 * hour)
    now_us = time.time_ns() // 1000
    before = event("before", "soup", at=now_us - hour)
    then = event("then", "jam", at=now_us - 1_000_000)
    now = event("now", "bread", at=now_us)
    assert neighbour.append([before, now, then]) == 2
    assert neighbour.append([now, event("other", user="bob")]) == 1
    for reader in (state, neighbour):
        history = reader.recent("ada", 9)
        assert list(history.item_ids) == ["jam", "bread"]
        assert erased_at_us < history.timestamps_us[0] < history.timestamps_us[1]
    state.load_histories(["ada"], ["old"], ["view"], [now_us])
    assert list(neighbour.recent("ada", 9).item_ids) == ["jam", "bread"]
