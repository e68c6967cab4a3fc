"""A bundle gives back what was written, and refuses to load if a single byte of it changed."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime
import orjson
import pytest
from safetensors.numpy import load_file, save_file

from shop import EVENT_TYPES, tiny_bundle, tiny_contents
from vitrina.bundle import bundle as layout
from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.manifest import MANIFEST, MANIFEST_SHA256, read_manifest, write_manifest
from vitrina.bundle.writer import BundleContents, file_entry, write_bundle
from vitrina.errors import BundleError, SpaceMismatch
from vitrina.filters import Filters, compile_filter
from vitrina.index.base import VectorIndex
from vitrina.space import EmbeddingSpace, Vectors

ALL_FILES = (*layout.FILES, layout.INDEX, MANIFEST, MANIFEST_SHA256)


@pytest.fixture
def copy(bundle_path: Path, tmp_path: Path) -> Path:
    """A copy of the shared bundle, to be damaged."""
    return Path(shutil.copytree(bundle_path, tmp_path / bundle_path.name))


def renew_checksums(path: Path) -> None:
    """Make the manifest fit the files, as someone who assembles a bundle by hand would."""
    manifest = read_manifest(path)
    files = {name: file_entry(path / name) for name in layout.files_of(manifest)}
    write_manifest(path, replace(manifest, files=files))


def test_a_bundle_gives_back_what_was_written(tmp_path: Path) -> None:
    contents, towers = tiny_contents(seed=5)
    with towers:
        path = write_bundle(tmp_path / "release", contents)
    bundle = load_bundle(path)
    assert bundle.item_ids == [item["item_id"] for item in contents.items]
    assert bundle.row_of_item["item-0042"] == 42
    assert bundle.space == contents.vectors.space
    assert bundle.user_embedding_version == "user_v" + bundle.manifest.version
    assert bundle.space.version == "items_v" + bundle.manifest.version
    assert bundle.manifest.event_types == list(EVENT_TYPES)
    assert bundle.manifest.lineage == contents.lineage
    np.testing.assert_array_equal(bundle.vectors.values, contents.vectors.values)
    np.testing.assert_array_equal(bundle.popularity, contents.popularity)
    np.testing.assert_array_equal(bundle.centroid, contents.centroid)


def test_a_loaded_bundle_searches_and_encodes(bundle: Bundle) -> None:
    history = bundle.vectors.values[[3, 19]]
    encoder = onnxruntime.InferenceSession(bundle.encoder_path)
    (user,) = encoder.run(
        ["user_vectors"],
        {
            "item_vectors": np.stack([history[0], history[1], np.ones_like(history[0])])[None],
            "event_types": np.zeros((1, 3), np.int64),
            "days": np.zeros((1, 3), np.float32),
            "mask": np.array([[True, True, False]]),
        },
    )
    mean = history.mean(axis=0)
    np.testing.assert_allclose(user[0], mean / np.linalg.norm(mean), atol=1e-6)
    _, rows = bundle.index.search(Vectors(bundle.space, user), 10)
    assert {3, 19} <= set(rows[0].tolist())
    assert (bundle.catalog.category[rows[0], 2] == bundle.catalog.category[3, 2]).all()


def test_another_stock_changes_what_filters_read_and_what_is_popular(bundle: Bundle) -> None:
    available = np.arange(len(bundle.item_ids)) % 3 == 0
    price = np.full(len(available), 2.0, np.float32)
    stocked = bundle.stocked(price, available)
    assert sorted(stocked.popular_rows) == np.flatnonzero(available).tolist()
    assert (np.diff(bundle.popularity[stocked.popular_rows]) <= 0).all()
    assert compile_filter(Filters(max_price=2.5), stocked.catalog).tolist() == available.tolist()
    assert stocked.catalog.blob(0) == bundle.catalog.blob(0)
    assert not np.array_equal(bundle.catalog.available, available)


def test_popular_rows_are_available_and_most_popular_first(bundle: Bundle) -> None:
    rows = bundle.popular_rows
    assert bundle.catalog.available[rows].all()
    assert len(rows) == bundle.catalog.available.sum() < len(bundle.item_ids)
    assert (np.diff(bundle.popularity[rows]) <= 0).all()


def test_the_same_parts_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = tiny_bundle(tmp_path / "a", seed=3), tiny_bundle(tmp_path / "b", seed=3)
    assert (first / MANIFEST).read_bytes() == (second / MANIFEST).read_bytes()


@pytest.mark.parametrize("position", ["first", "middle", "last"])
@pytest.mark.parametrize("name", ALL_FILES)
def test_a_flipped_byte_in_a_bundle_is_refused(copy: Path, name: str, position: str) -> None:
    content = bytearray((copy / name).read_bytes())
    at = {"first": 0, "middle": len(content) // 2, "last": len(content) - 1}[position]
    content[at] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name) as caught:
        load_bundle(copy)
    assert "vitrina rollback" in str(caught.value)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("name", ALL_FILES)
def test_a_bundle_with_a_file_cut_or_missing_is_refused(
    copy: Path, name: str, verify: bool
) -> None:
    with (copy / name).open("r+b") as file:
        file.truncate((copy / name).stat().st_size - 1)
    with pytest.raises(BundleError, match=name):
        load_bundle(copy, verify)
    (copy / name).unlink()
    with pytest.raises(BundleError, match=name):
        load_bundle(copy, verify)


def test_a_folder_that_is_no_bundle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"manifest\.json cannot be read"):
        load_bundle(tmp_path)
    with pytest.raises(BundleError, match="There is no bundle at"):
        load_bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("found", [2, 0, "1", None])
def test_a_bundle_of_an_unknown_format_is_refused(copy: Path, found: object) -> None:
    write_manifest(copy, replace(read_manifest(copy), format=found))
    with pytest.raises(BundleError, match=rf"format {found!r}, this Vitrina reads format 1"):
        load_bundle(copy)


@pytest.mark.parametrize("text", [b"[]", b"{", b'{"format":1}', b"\xff"])
def test_a_manifest_that_makes_no_sense_is_refused(copy: Path, text: bytes) -> None:
    class Text:
        def to_json(self) -> bytes:
            return text

    write_manifest(copy, Text())
    with pytest.raises(BundleError, match=r"manifest\.json"):
        load_bundle(copy)


@pytest.mark.parametrize("verify", [True, False])
def test_an_index_of_another_space_is_refused(copy: Path, tmp_path: Path, verify: bool) -> None:
    other = tiny_bundle(tmp_path / "other", seed=1)
    shutil.copy(other / layout.INDEX, copy / layout.INDEX)
    renew_checksums(copy)
    with pytest.raises(SpaceMismatch) as caught:
        load_bundle(copy, verify)
    for path in (copy, other):
        assert read_manifest(path).space.version in str(caught.value)


@pytest.mark.parametrize("name", [layout.ITEMS, layout.ITEM_TOWER, layout.ITEM_IDS])
def test_vectors_tower_or_ids_of_another_space_are_refused(
    copy: Path, tmp_path: Path, name: str
) -> None:
    other = tiny_bundle(tmp_path / "other", seed=1)
    shutil.copy(other / name, copy / name)
    if name == layout.ITEM_IDS:
        ids = orjson.loads((copy / name).read_bytes())
        (copy / name).write_bytes(orjson.dumps([f"x{item_id}" for item_id in ids]))
    renew_checksums(copy)
    with pytest.raises(SpaceMismatch, match="fingerprint"):
        load_bundle(copy)


def test_an_index_of_fewer_items_is_refused(copy: Path) -> None:
    index = load_bundle(copy).index
    index.delete(np.array([0]))
    index.save(copy / layout.INDEX)
    renew_checksums(copy)
    with pytest.raises(SpaceMismatch, match=r"299 vectors.*300 items"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("name", "spoilt"),
    [
        ("price", np.zeros(7, np.float32)),
        ("category", np.zeros((300, 3), np.int64)),
        ("vectors", np.zeros((300, 8), np.float32)),
        ("offsets", None),
    ],
)
def test_an_array_of_the_wrong_shape_is_refused(
    copy: Path, name: str, spoilt: np.ndarray | None
) -> None:
    arrays = load_file(copy / layout.ITEMS)
    del arrays[name]
    save_file(arrays if spoilt is None else {**arrays, name: spoilt}, copy / layout.ITEMS)
    renew_checksums(copy)
    with pytest.raises(BundleError, match=f"items.safetensors: '{name}' is"):
        load_bundle(copy)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (layout.VOCABULARY, b'{"brands":[]}', "has no 'categories'"),
        (layout.CATALOG, b'{"item_id":"a"}\n', "has 16 bytes, but the offsets"),
        (layout.ITEM_IDS, b'["item-0000"]', "lists 1 items, the manifest counts 300"),
        (layout.RANKING, b"[]", "holds a list, expected a dict"),
        (layout.METRICS, b"{", "is not JSON"),
    ],
)
def test_a_file_put_together_by_hand_is_refused_by_name(
    copy: Path, name: str, content: bytes, message: str
) -> None:
    (copy / name).write_bytes(content)
    renew_checksums(copy)
    with pytest.raises(BundleError, match=f"{name} {message}"):
        load_bundle(copy)


def test_a_bundle_from_before_places_were_coded_has_items_in_none(copy: Path) -> None:
    arrays = load_file(copy / layout.ITEMS)
    del arrays["location"], arrays["condition"]
    save_file(arrays, copy / layout.ITEMS)
    vocabulary = orjson.loads((copy / layout.VOCABULARY).read_bytes())
    del vocabulary["locations"], vocabulary["conditions"]
    (copy / layout.VOCABULARY).write_bytes(orjson.dumps(vocabulary))
    renew_checksums(copy)
    facets = load_bundle(copy).catalog.facets
    assert facets["brand"].having(["acme"]).any()
    assert not facets["location"].having(["Lyon"]).any()
    assert not facets["condition"].having(["new"]).any()


def test_a_file_that_does_not_belong_is_ignored(copy: Path) -> None:
    (copy / ".DS_Store").write_bytes(b"a file manager was here")
    assert len(load_bundle(copy).item_ids) == 300


def test_loading_needs_no_training_code(bundle_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from vitrina.bundle.bundle import load_bundle;"
        f"load_bundle(Path({str(bundle_path)!r}));"
        "print({'torch', 'duckdb', 'pyarrow', 'pandas', 'onnx'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


@dataclass
class InterruptedIndex:
    """An index during whose saving the process gets a signal."""

    index: VectorIndex
    signal: signal.Signals

    @property
    def space(self) -> EmbeddingSpace:
        return self.index.space

    def save(self, path: Path) -> None:
        path.write_bytes(b"half an ind")
        os.kill(os.getpid(), self.signal)


def write_interrupted(folder: Path, by: signal.Signals) -> None:
    contents, towers = tiny_contents()
    with towers:
        write_bundle(folder, replace(contents, index=InterruptedIndex(contents.index, by)))


def test_ctrl_c_while_writing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        write_interrupted(tmp_path / "release", signal.SIGINT)
    assert list(tmp_path.iterdir()) == []


def test_a_kill_while_writing_leaves_no_bundle_and_the_next_write_cleans_up(tmp_path: Path) -> None:
    writer = multiprocessing.get_context("spawn").Process(
        target=write_interrupted, args=(tmp_path / "release", signal.SIGKILL)
    )
    writer.start()
    writer.join()
    assert writer.exitcode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [f".release.partial-{writer.pid}"]
    contents, towers = tiny_contents()
    with towers:
        write_bundle(tmp_path / "release", contents)
    assert [path.name for path in tmp_path.iterdir()] == ["release"]
    load_bundle(tmp_path / "release")


def test_a_bundle_is_never_overwritten(bundle_path: Path) -> None:
    contents, towers = tiny_contents(seed=1)
    before = (bundle_path / MANIFEST).read_bytes()
    with towers, pytest.raises(BundleError, match="never changed"):
        write_bundle(bundle_path, contents)
    assert (bundle_path / MANIFEST).read_bytes() == before


def spoil(contents: BundleContents, part: str) -> BundleContents:
    other, towers = tiny_contents(seed=9)
    towers.cleanup()
    items = list(contents.items)
    return {
        "unsorted items": replace(contents, items=items[::-1]),
        "duplicate item": replace(contents, items=[items[0], *items[:-1]]),
        "one item less": replace(contents, items=items[1:]),
        "no items": replace(contents, items=[]),
        "popularity": replace(contents, popularity=contents.popularity[1:]),
        "centroid": replace(contents, centroid=contents.centroid[1:]),
        "index": replace(contents, index=other.index),
        "vectors": replace(contents, vectors=Vectors(contents.vectors.space, other.vectors.values)),
        "item tower": replace(contents, item_tower=contents.encoder),
    }[part]


@pytest.mark.parametrize(
    ("part", "error", "message"),
    [
        ("unsorted items", BundleError, "row 1 .'item-0298'. follows 'item-0299'"),
        ("duplicate item", BundleError, "row 1 .'item-0000'. follows 'item-0000'"),
        ("one item less", BundleError, r"299 items .* vectors of shape \(299, 16\)"),
        ("no items", BundleError, "at least one item"),
        ("popularity", BundleError, r"popularity of shape \(300,\); found \(299,\)"),
        ("centroid", BundleError, r"centroid of shape \(16,\)"),
        ("index", SpaceMismatch, "index lives in"),
        ("vectors", SpaceMismatch, "fingerprint"),
        ("item tower", SpaceMismatch, "fingerprint"),
    ],
)
def test_parts_that_do_not_fit_together_make_no_bundle(
    tmp_path: Path, part: str, error: type[Exception], message: str
) -> None:
    contents, towers = tiny_contents()
    with towers, pytest.raises(error, match=message):
        write_bundle(tmp_path / "release", spoil(contents, part))
    assert list(tmp_path.iterdir()) == []
