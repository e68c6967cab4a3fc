"""H&M: two years of purchases of a fashion chain (Kaggle competition, 2022)."""

from __future__ import annotations

from typing import Final

from vitrina.lake.datasets.base import DataFile, Dataset

TRANSACTIONS_FILE: Final = DataFile(
    "transactions",
    "transactions_train.csv",
    ("t_dat", "customer_id", "article_id", "price", "sales_channel_id"),
    rows={"transactions_train.csv": 31_788_324},
)
ARTICLES_FILE: Final = DataFile(
    "articles",
    "articles.csv",
    (
        "article_id",
        "product_code",
        "prod_name",
        "product_type_no",
        "product_type_name",
        "product_group_name",
        "graphical_appearance_no",
        "graphical_appearance_name",
        "colour_group_code",
        "colour_group_name",
        "perceived_colour_value_id",
        "perceived_colour_value_name",
        "perceived_colour_master_id",
        "perceived_colour_master_name",
        "department_no",
        "department_name",
        "index_code",
        "index_name",
        "index_group_no",
        "index_group_name",
        "section_no",
        "section_name",
        "garment_group_no",
        "garment_group_name",
        "detail_desc",
    ),
    rows={"articles.csv": 105_542},
)

HM: Final = Dataset(
    name="hm",
    title="H&M Personalized Fashion Recommendations",
    about="two years of purchases (September 2018 to September 2020) of a fashion chain",
    events=31_788_324,
    items=105_542,
    users=1_371_980,
    size="three CSV files, two of them used; the pictures are not needed",
    terms="the competition's rules, accepted on Kaggle: non-commercial and academic use, "
    "no redistribution",
    address="https://www.kaggle.com/competitions/h-and-m-personalized-fashion-recommendations",
    decisions=(
        "A purchase's value is its price, on the scale that H&M changed it to; articles have no "
        "price of their own.",
        "Purchases have a day and no time. Several of one article by one customer on one day are "
        "one event.",
        "category_path is index group > product group > product type; ids keep their leading 0.",
        "customers.csv is not read.",
    ),
    files=(TRANSACTIONS_FILE, ARTICLES_FILE),
    items_from=(
        {
            "files": ["articles"],
            "columns": {
                "item_id": "article_id",
                "title": ["prod_name", "colour_group_name"],
                "description": "detail_desc",
                "category_path": ["index_group_name", "product_group_name", "product_type_name"],
            },
        },
    ),
    events_from=(
        {
            "files": ["transactions"],
            "columns": {
                "user_id": "customer_id",
                "item_id": "article_id",
                "timestamp": "t_dat",
                "event_type": {"value": "purchase"},
                "value": "price",
            },
        },
    ),
)
