"""H&M: articles with quoted descriptions, purchases with a day and no time."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy
from vitrina.lake.datasets.hm import ARTICLES_FILE

CUSTOMER = "000058a12d5b43e67d225668fa1f8d618c13dc232df0cad8ffe7ad4a1091e318"
FILES = {
    "articles.csv": ",".join(ARTICLES_FILE.columns) + "\n"
    "0108775015,0108775,Strap top,253,Vest top,Garment Upper body,1010016,Solid,09,Black,4,Dark,5,"
    "Black,1676,Jersey Basic,A,Ladieswear,1,Ladieswear,16,Womens Everyday Basics,1002,"
    "Jersey Basic,Jersey top with narrow shoulder straps.\n"
    "0110065001,0110065,OP T-shirt (Idro),306,Bra,Underwear,1010016,Solid,09,Black,4,Dark,5,"
    "Black,1339,Clean Lingerie,B,Lingeries/Tights,1,Ladieswear,61,Womens Lingerie,1017,"
    '"Under-, Nightwear","Microfibre T-shirt bra with underwired, moulded, lightly padded cups."\n'
    "0351332007,0351332,Marshall Lace up Top,252,Sweater,Garment Upper body,1010018,"
    "Treatment,73,Dark Blue,4,Dark,2,Blue,1643,Basic 1,D,Divided,2,Divided,51,Divided Basics,1003,"
    "Knitwear,\n",
    "transactions_train.csv": "t_dat,customer_id,article_id,price,sales_channel_id\n"
    f"2018-09-20,{CUSTOMER},0108775015,0.050830508474576264,2\n"
    f"2018-09-20,{CUSTOMER},0108775015,0.050830508474576264,2\n"
    f"2018-09-21,{CUSTOMER},0110065001,0.030491525423728813,1\n",
    "customers.csv": "customer_id,FN,Active,club_member_status,fashion_news_frequency,age,"
    f"postal_code\n{CUSTOMER},,,ACTIVE,NONE,49.0,52043ee2162cf5aa7ee79974281641c6f11a68d276429a9\n",
}


def test_articles_and_purchases(tmp_path: Path) -> None:
    report = ingest_copy(tmp_path, "hm", write_copy(tmp_path / "copy", FILES))
    items = items_of(tmp_path)
    assert items["0108775015"]["title"] == "Strap top Black"
    assert items["0110065001"]["description"].startswith("Microfibre T-shirt bra with underwired,")
    assert items["0110065001"]["category_path"] == "Ladieswear > Underwear > Bra"
    assert "description" not in items["0351332007"]
    day = datetime(2018, 9, 20, tzinfo=UTC)
    assert events_of(tmp_path, "user_id", "item_id", "event_type", "timestamp")[0] == (
        CUSTOMER,
        "0108775015",
        "purchase",
        day,
    )
    assert (report.events.kept, report.events.duplicates) == (2, 1)
