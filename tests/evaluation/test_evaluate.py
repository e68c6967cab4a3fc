"""From a lake to a judged draft: what is measured is what will be served."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from rich.console import Console

from lake.lake_shop import ingest_texts
from towers.taste_shop import (
    DAY_US,
    START_US,
    TYPE_WEIGHTS,
    TYPES,
    TasteShop,
    as_interactions,
    ingested,
    taste_shop,
)
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.registry import Registry
from vitrina.errors import DataError, TrainingError
from vitrina.evaluation.cold_start import by_length
from vitrina.evaluation.evaluate import Evaluation, evaluate, failed_gates
from vitrina.evaluation.methods import (
    BASELINES,
    LEARNED,
    PIPELINE,
    all_methods,
    from_pipeline,
    from_scores,
    histories_before_cut,
)
from vitrina.evaluation.metrics import DEPTH
from vitrina.evaluation.protocols import GlobalTimeSplit, global_time
from vitrina.evaluation.report import markdown, tables
from vitrina.lake.split import to_datetime
from vitrina.online.recommender import Recommender, Request
from vitrina.schema import History
from vitrina.settings import EvaluateSettings, ServeSettings, Settings, TrainSettings
from vitrina.state.sqlite import SqliteState
from vitrina.towers.assemble import assemble_draft
from vitrina.towers.run import TrainReport, train

TRAIN = TrainSettings(dim=16, max_history=40, steps=10)
METHODS = [*BASELINES, "recency average", "short/long mix", LEARNED, PIPELINE]


@dataclass(frozen=True)
class Judged:
    shop: TasteShop
    settings: Settings
    trained: TrainReport
    draft: Path
    evaluation: Evaluation
    bundle: Bundle
    split: GlobalTimeSplit

    def past(self, user: int) -> History:
        """What the shopper did before the cut, from the generated events themselves."""
        events = self.shop.interactions
        mine = (events.user == user) & (events.timestamp_us < self.split.data.split.cut_us)
        return History(
            [self.shop.catalog.item_ids[row] for row in events.row[mine]],
            [TYPES[code] for code in events.event_type[mine]],
            events.timestamp_us[mine].tolist(),
        )


def with_newcomers(shop: TasteShop) -> TasteShop:
    """The last two shoppers come in the last ten days, and the one before them came once before."""
    events = shop.interactions
    late = events.timestamp_us > events.timestamp_us.max() - 10 * DAY_US
    known = events.user < len(events.user_ids) - 2
    first = np.ones(len(events), np.bool_)
    first[1:] = events.user[1:] != events.user[:-1]
    once = events.user == len(events.user_ids) - 3
    return replace(shop, interactions=events.where(late | (known & (first | ~once))))


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Judged:
    folder = tmp_path_factory.mktemp("judged")
    shop = with_newcomers(taste_shop(users=40, items=120, events=30))
    settings = ingested(folder, shop, TRAIN)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    trained = train(settings)
    torch.set_num_threads(threads)
    draft = assemble_draft(settings)
    evaluation = evaluate(settings, draft)
    return Judged(
        shop, settings, trained, draft, evaluation, load_bundle(draft), global_time(settings)
    )


def test_training_leaves_complete_towers_and_no_checkpoint(judged: Judged) -> None:
    report = judged.trained
    assert (report.steps, report.cached, report.resumed_from_step) == (TRAIN.steps, False, 0)
    assert report.parity <= 1e-4
    assert report.data_until_us == judged.split.data.split.cut_us
    runs = judged.settings.paths.runs
    assert sorted(path.name for path in runs.iterdir()) == ["draft", "evaluation.json", "towers"]
    suffixes = {path.suffix for path in runs.rglob("*") if path.is_file()}
    data = {".safetensors", ".json", ".onnx", ".jsonl", ".faiss", ".sha256"}
    assert suffixes == data | {".md", ".svg"}


def test_the_same_training_is_not_done_twice(judged: Judged) -> None:
    again = train(judged.settings)
    assert again.cached
    assert again.identity == judged.trained.identity
    quicker = TRAIN.model_copy(update={"checkpoint_minutes": 9.0})
    assert train(judged.settings.model_copy(update={"train": quicker})).cached


def test_towers_of_other_settings_make_no_draft(judged: Judged) -> None:
    other = judged.settings.model_copy(update={"train": TRAIN.model_copy(update={"seed": 8})})
    with pytest.raises(TrainingError, match="vitrina train"):
        assemble_draft(other)


def test_every_method_is_in_the_table_with_its_intervals(judged: Judged) -> None:
    rows = judged.evaluation.rows
    assert [row["method"] for row in rows] == METHODS
    for row in rows:
        for targets in ("all", "new"):
            assert list(row[targets]) == ["recall@10", "recall@100", "ndcg@10", "mrr"]
            for value in row[targets].values():
                assert 0 <= value["low"] <= value["mean"] <= value["high"] <= 1
            assert row[targets]["recall@10"]["mean"] <= row[targets]["recall@100"]["mean"]
        assert 0 < row["coverage@10"] <= 1 or row["method"] == "own most frequent"
        assert 0 <= row["popularity@10"] <= 1
    habits = rows[METHODS.index("own most frequent")]
    assert habits["new"]["recall@100"]["mean"] == 0, "what was met before is not new"
    assert habits["all"]["recall@100"]["mean"] > 0


def test_the_evaluation_is_written_whole(judged: Judged) -> None:
    written = orjson.loads((judged.settings.paths.runs / "evaluation.json").read_bytes())
    assert written == orjson.loads(orjson.dumps(judged.evaluation.to_json()))
    assert written["bundle"] == judged.bundle.manifest.version
    assert written["users"] == len(judged.split.users)
    assert written["users_with_new"] == int((np.diff(judged.split.new.indptr) > 0).sum())
    assert written["failed_gates"] == []


def test_shoppers_are_judged_apart_by_what_is_known_of_them(judged: Judged) -> None:
    events, split = judged.shop.interactions, judged.split.data.split
    past = np.bincount(events.user[events.timestamp_us < split.cut_us], minlength=40)
    test = split.is_test(events.timestamp_us) & (TYPE_WEIGHTS[events.event_type] > 0)
    buyers = np.unique(events.user[test])
    sizes = judged.evaluation.users_by_length
    assert sizes == {name: int(which.sum()) for name, which in by_length(past[buyers]).items()}
    assert sizes["0"] == 2
    assert sizes["1"] == 1
    assert sum(sizes.values()) - 2 == judged.evaluation.users, "newcomers are judged apart"
    for row in judged.evaluation.rows:
        found = row["by_length"]
        assert list(found) == [name for name, size in sizes.items() if size]
        for metric, value in row["all"].items():
            of_all = sum(found[name][metric] * sizes[name] for name in found if name != "0")
            assert of_all == pytest.approx(value["mean"] * judged.evaluation.users)


def test_newcomers_are_judged_by_what_the_recommender_shows_anybody(judged: Judged) -> None:
    recommender = Recommender(judged.bundle, SqliteState(None), None, ServeSettings())
    shown = recommender.recommend(Request(k=DEPTH)).candidates.rows[:10]
    targets = judged.split.newcomers.toarray() > 0
    recall = (targets[:, shown].sum(1) / targets.sum(1)).mean()
    found = {row["method"]: row["by_length"]["0"]["recall@10"] for row in judged.evaluation.rows}
    assert found[PIPELINE] == pytest.approx(recall)
    assert found["recent popularity"] > 0
    assert found["own most frequent"] == found["iALS"] == 0, "they know nothing of a newcomer"


def test_what_was_not_to_be_had_at_the_cut_is_not_shown(judged: Judged, tmp_path: Path) -> None:
    """Five items at the time; today, and in the bundle, all of them."""
    folder, cut = judged.settings.paths.lake.parent, judged.split.data.split.cut_us
    header, *lines = (folder / "items.csv").read_text().splitlines()
    items = [f"{header},available,observed_at"]
    for moment, to_be_had in ((START_US, 5), (cut + DAY_US, len(lines))):
        since = to_datetime(moment).isoformat()
        items += [f"{line},{number < to_be_had},{since}" for number, line in enumerate(lines)]
    ingest_texts(tmp_path, items="\n".join(items), events=(folder / "events.csv").read_text())
    paths = judged.settings.paths.model_copy(
        update={"lake": tmp_path / "lake", "runs": tmp_path / "runs"}
    )
    found = evaluate(judged.settings.model_copy(update={"paths": paths}), judged.draft)
    coverage = {row["method"]: row["coverage@10"] for row in found.rows}
    assert 0 < coverage[PIPELINE] <= 5 / 120
    assert judged.bundle.catalog.available.all()


def test_claims_follow_from_the_table(judged: Judged) -> None:
    rows = {row["method"]: row for row in judged.evaluation.rows}
    assert len(judged.evaluation.bars) == 2 + 2 * len(BASELINES)
    for bar in judged.evaluation.bars:
        ours = rows[bar.better][bar.targets][bar.metric]
        theirs = rows[bar.worse][bar.targets][bar.metric]
        assert bar.difference["mean"] == pytest.approx(ours["mean"] - theirs["mean"])
        assert bar.holds == (bar.difference["low"] > 0)
        assert bar.apart == (ours["low"] > theirs["high"])


def test_the_pipelines_lists_are_the_answers_of_the_recommender(judged: Judged) -> None:
    lists = from_pipeline(judged.split, judged.bundle, histories_before_cut(judged.split))
    empty = SqliteState(None)
    recommender = Recommender(judged.bundle, empty, None, ServeSettings())
    for place, user in enumerate(judged.split.users):
        history = judged.past(int(user))
        for shelf, ranked in (("for_you", lists.everything), ("discover", lists.unmet)):
            answer = recommender.recommend(Request(history=history, k=DEPTH, shelf=shelf))
            assert answer.degraded == []
            assert answer.served_by == "learned"
            rows = ranked[place][ranked[place] >= 0].tolist()
            assert rows == answer.candidates.rows.tolist()
        met = set(history.item_ids)
        assert not met & {judged.bundle.item_ids[row] for row in rows}


def test_no_list_of_new_items_holds_anything_met(judged: Judged) -> None:
    met = judged.split.met.toarray() > 0
    for lists in all_methods(judged.split, judged.bundle):
        for place, ranked in enumerate(lists.unmet):
            shown = ranked[ranked >= 0]
            assert len(set(shown.tolist())) == len(shown)
            assert not met[place, shown].any(), lists.method
            assert (ranked[len(shown) :] == -1).all(), "a list ends once"


def test_a_baselines_list_is_its_scores_in_order(judged: Judged) -> None:
    split, items = judged.split, len(judged.bundle.item_ids)
    baseline = BASELINES["item-kNN"](split.data.interactions, items)
    lists = from_scores("item-kNN", baseline, split)
    scores = baseline.scores(split.users)
    for place, ranked in enumerate(lists.everything):
        shown = ranked[ranked >= 0]
        mine = scores[place]
        assert (np.diff(mine[shown]) <= 0).all()
        assert len(shown) == min(DEPTH, int((mine > 0).sum()))
        left_out = np.setdiff1d(np.arange(items), shown)
        assert mine[left_out].max(initial=0) <= mine[shown].min() or len(shown) < DEPTH


def test_the_draft_is_a_bundle_that_can_be_promoted_and_served(
    judged: Judged, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "bundles")
    evaluation = orjson.loads(orjson.dumps(judged.evaluation.to_json()))
    version = registry.publish(judged.draft, evaluation, markdown(evaluation))
    registry.promote(version)
    bundle = load_bundle(registry.path(version))
    card = (bundle.path / "model_card.md").read_text()
    assert card.startswith((judged.draft / "model_card.md").read_text())
    row = next(row for row in evaluation["rows"] if row["method"] == PIPELINE)
    recall = f"{row['all']['recall@10']['mean']:.4f}".removeprefix("0")
    assert f"| {PIPELINE} | {recall} ±" in card
    assert bundle.metrics["cut"] == judged.evaluation.cut
    lineage = bundle.manifest.lineage
    assert lineage.rows["items"] == 120
    assert lineage.data_until is not None
    assert lineage.data_until < judged.evaluation.cut
    answer = Recommender(bundle, SqliteState(None), None, ServeSettings()).recommend(
        Request(history=judged.past(3), k=10)
    )
    assert answer.served_by == "learned"
    assert answer.degraded == []
    assert len(answer.items) == 10


def test_a_bundle_that_has_seen_the_test_days_is_refused(judged: Judged) -> None:
    """Judged at an earlier cut, the draft has learnt from what it is asked."""
    cut = judged.split.data.split.cut_us - 5 * DAY_US
    earlier = EvaluateSettings(cut=to_datetime(cut), bootstrap_samples=100)
    with pytest.raises(DataError, match="it has seen the answers"):
        evaluate(judged.settings.model_copy(update={"evaluate": earlier}), judged.draft)


def test_a_bundle_of_another_catalog_is_refused(judged: Judged, tmp_path: Path) -> None:
    larger = replace(judged.shop, catalog=taste_shop(items=124).catalog)
    with pytest.raises(DataError, match="other items than the lake"):
        evaluate(ingested(tmp_path, larger, TRAIN), judged.draft)


def test_only_a_clearly_better_predecessor_of_the_same_days_fails_the_gate(
    judged: Judged,
) -> None:
    rows, split = judged.evaluation.rows, judged.split
    same = replace(judged.bundle, metrics=judged.evaluation.to_json())
    assert failed_gates(rows, split, None) == []
    assert failed_gates(rows, split, same) == []
    better = orjson.loads(orjson.dumps(judged.evaluation.to_json()))
    for row in better["rows"]:
        row["all"]["recall@10"] = {"mean": 1.0, "low": 0.99, "high": 1.0}
    (reason,) = failed_gates(rows, split, replace(judged.bundle, metrics=better))
    assert reason.startswith("recall@10 on all items of the full pipeline is ")
    assert "at least 0.9900" in reason
    other_days = {**better, "cut": "2020-01-01T00:00:00+00:00"}
    assert failed_gates(rows, split, replace(judged.bundle, metrics=other_days)) == []


def test_the_report_fits_a_terminal(judged: Judged) -> None:
    out = StringIO()
    Console(file=out, width=80).print(
        tables(orjson.loads(orjson.dumps(judged.evaluation.to_json())))
    )
    text = out.getvalue()
    assert all(method in text for method in METHODS)
    assert "…" not in text.replace(" … ", ""), "nothing is cut off"
    assert max(map(len, text.splitlines())) <= 80


def test_a_shop_where_nobody_buys_anything_new_can_be_judged(
    judged: Judged, tmp_path: Path
) -> None:
    """The same past, but in the test days everyone only repeats what they did before."""
    events, cut = judged.shop.interactions, judged.split.data.split.cut_us
    past = events.timestamp_us < cut
    repeated = past & (events.timestamp_us >= cut - 10 * DAY_US)
    columns = [
        np.concatenate([column[past], column[repeated]])
        for column in (events.user, events.row, events.event_type)
    ]
    moments = np.concatenate(
        [events.timestamp_us[past], events.timestamp_us[repeated] + 10 * DAY_US]
    )
    habits = replace(judged.shop, interactions=as_interactions(*columns, moments))
    settings = ingested(tmp_path, habits, TRAIN).model_copy(
        update={"evaluate": EvaluateSettings(cut=to_datetime(cut), bootstrap_samples=100)}
    )
    found = evaluate(settings, judged.draft)
    assert found.users > 0
    assert found.users_with_new == 0
    assert all(math.isfinite(row["new"]["recall@10"]["mean"]) for row in found.rows)
    assert not any(bar.holds for bar in found.bars if bar.targets == "new")
