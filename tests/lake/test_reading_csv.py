"""CSV as shops send it: any dialect is understood, and every row keeps its number."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.lake_shop import write
from lake.raw_rows import read_rows
from vitrina.errors import DataError

COLUMNS = ["id", "title", "price"]
SOUP = {"id": "soup", "title": "Tomato, hot", "price": "1.5"}
BREAD = {"id": "bread", "title": "Rye", "price": "2"}


def values(rows: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: row[name] for name in COLUMNS} for row in rows]


@pytest.mark.parametrize(
    "text",
    [
        'id,title,price\nsoup,"Tomato, hot",1.5\nbread,Rye,2\n',
        "id;title;price\nsoup;Tomato, hot;1.5\nbread;Rye;2\n",
        "id\ttitle\tprice\nsoup\tTomato, hot\t1.5\nbread\tRye\t2\n",
        "id|title|price\r\nsoup|Tomato, hot|1.5\r\nbread|Rye|2\r\n",
        "id::title::price\nsoup::Tomato, hot::1.5\nbread::Rye::2\n",
        "id\x01title\x01price\nsoup\x01Tomato, hot\x011.5\nbread\x01Rye\x012\n",
        "'id','title','price'\n'soup','Tomato, hot','1.5'\n'bread','Rye','2'\n",
        '# made by hand, today\n\nid,title,price\nsoup,"Tomato, hot",1.5\nbread,Rye,2\n',
        'sep=;\r\nid;title;price\r\nsoup;"Tomato, hot";1.5\r\nbread;Rye;2',
        '\ufeffid,title,price\r\nsoup,"Tomato, hot",1.5\r\nbread,Rye,2\r\n',
        'id,title,price\rsoup,"Tomato, hot",1.5\rbread,Rye,2\r',
        'id,title,price\r\nsoup,"Tomato, hot",1.5\n\nbread,Rye,2\r\n',
        'ID , Title,PRICE,colour\nsoup,"Tomato, hot",1.5,red\nbread,Rye,2,\n',
    ],
)
def test_the_dialect_is_read_off_the_file(tmp_path: Path, text: str) -> None:
    good, bad, _ = read_rows(write(tmp_path / "items.csv", text.encode()), COLUMNS)
    assert values(good) == [SOUP, BREAD]
    assert [row["row"] for row in good] == [1, 2]
    assert bad == []


@pytest.mark.parametrize(
    ("field", "meant"),
    [
        ('"Soup ""hot"" and, sour"', 'Soup "hot" and, sour'),
        ('"Soup\nand\n\nbread"', "Soup\nand\n\nbread"),
        ('12" pizza', '12" pizza'),
        ("O'Brien", "O'Brien"),
        ("\"O'Brien, 's\"", "O'Brien, 's"),
    ],
)
def test_quotes_mean_what_they_mean_in_csv(tmp_path: Path, field: str, meant: str) -> None:
    path = write(tmp_path / "items.csv", f'id,title\n"soup","Soup"\njam,{field}\n')
    good, bad, _ = read_rows(path, ["id", "title"])
    assert (good[1]["title"], good[1]["row"], bad) == (meant, 2, [])


def test_backslashes_before_quotes_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "i.csv", 'id,title\n1,"a \\"hot\\", b"\n2,"c\\\\"\n3,"d"\n')
    good, bad, _ = read_rows(path, ["id", "title"])
    assert [row["title"] for row in good] == ['a "hot", b', "c\\", "d"]
    assert bad == []


def test_fields_that_begin_with_a_quote_in_a_file_without_quoting(tmp_path: Path) -> None:
    path = write(tmp_path / "items.tsv", 'id\ttitle\n1\t"Heroes\n2\tother\n')
    good, _, _ = read_rows(path, ["id", "title"])
    assert [row["title"] for row in good] == ['"Heroes', "other"]


def test_a_file_without_header_gets_its_names_from_the_source(tmp_path: Path) -> None:
    path = write(tmp_path / "clicks.dat", "7,2014-04-07T10:51:09.277Z,214536502,0\n# odd,,,\n")
    names = ["session", "at", "item", "category"]
    good, bad, table = read_rows(path, ["item", "session"], header=names)
    assert good == [
        {"file": path, "row": 1, "item": "214536502", "session": "7"},
        {"file": path, "row": 2, "item": None, "session": "# odd"},
    ]
    assert (bad, table.ignored) == ([], ["at", "category"])


def test_a_stray_quote_costs_its_own_row_only(tmp_path: Path) -> None:
    lines = ["id,title", '"soup","Soup"', '2,"Jam', *(f"{row},x" for row in range(3, 50))]
    lines += ['50,"Rye"', '51,"with\nline end"', '52,"torn"off', "53,last"]
    good, bad, _ = read_rows(write(tmp_path / "i.csv", "\n".join(lines)), ["id", "title"])
    assert [(row["row"], row["raw"]) for row in bad] == [(2, '2,"Jam'), (52, '52,"torn"off')]
    assert all("never closed" in row["reason"] for row in bad)
    assert [row["row"] for row in good] == [1, *range(3, 52), 53]
    assert [row["id"] for row in good][1:] == [*map(str, range(3, 52)), "53"]


@pytest.mark.parametrize(
    ("encoding", "told"), [("latin-1", "latin-1"), ("utf-16", None), ("utf-16-le", "utf-16-le")]
)
def test_other_encodings_are_read_when_they_are_known(
    tmp_path: Path, encoding: str, told: str | None
) -> None:
    path = write(tmp_path / "items.csv", "id,title\n1,Käse\n2,Crème\n".encode(encoding))
    good, _, _ = read_rows(path, ["id", "title"], encoding=told)
    assert [row["title"] for row in good] == ["Käse", "Crème"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,größe\n1,2\n".encode("latin-1"), "not UTF-8.*latin-1"),
        ("id,title\n1,2\n".encode("utf-16-be"), "encoding"),
        (b"\n\n# nothing but notes\n", "no header line"),
    ],
)
def test_a_text_that_cannot_be_understood_says_what_to_do(
    tmp_path: Path, content: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_rows(write(tmp_path / "items.csv", content), ["id"])


def test_a_wrong_encoding_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "items.csv", b"id,title\n1,\xff\xfe\xfd\n")
    with pytest.raises(DataError, match=r"items.csv is not ascii.*encoding"):
        read_rows(path, ["id"], encoding="ascii")


END = st.sampled_from(["\n", "\r\n", "\r"])
KIND = st.sampled_from(["plain", "quoted", "lines", "blank", "few", "many", "open", "torn"])


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(
        st.tuples(
            st.sampled_from([",", ";", "\t", "|", "::"]),
            st.lists(END, min_size=1, max_size=3),
            st.lists(KIND, min_size=1, max_size=30),
        ),
        min_size=1,
        max_size=8,
    )
)
def test_rows_keep_their_numbers_whatever_stands_between_them(
    files: list[tuple[str, list[str], list[str]]],
) -> None:
    with TemporaryDirectory() as folder:
        expected: dict[tuple[str, int], str | None] = {}
        for number, (delimiter, ends, kinds) in enumerate(files):
            name = str(Path(folder) / f"{number}.csv")
            text, row = f'"id"{delimiter}"title"{ends[0]}', 0
            for place, kind in enumerate(kinds):
                end = ends[place % len(ends)]
                row += kind != "blank"
                title, meant = {
                    "plain": ("x", "x"),
                    "quoted": (f'"x{delimiter}""y"', f'x{delimiter}"y'),
                    "lines": (f'"x{end}y"', "x\ny"),
                    "blank": ("", None),
                    "few": ("", None),
                    "many": (f"x{delimiter}y", None),
                    "open": ('"x', None),
                    "torn": ('"x"y', None),
                }[kind]
                if kind != "blank":
                    text += f"{row}" if kind == "few" else f"{row}{delimiter}{title}"
                    expected[name, row] = meant
                text += end
            write(Path(name), text.encode())
        good, bad, _ = read_rows(folder, ["id", "title"])
    found = {(row["file"], row["row"]): row["title"].replace("\r\n", "\n") for row in good}
    found = {place: title.replace("\r", "\n") for place, title in found.items()}
    assert not found.keys() & {(row["file"], row["row"]) for row in bad}
    assert found | {(row["file"], row["row"]): None for row in bad} == expected
