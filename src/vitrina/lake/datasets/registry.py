"""All public data sets that Vitrina has a ready mapping for, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.datasets.amazon import AMAZON_2018, AMAZON_2023
from vitrina.lake.datasets.base import Dataset
from vitrina.lake.datasets.complete_journey import COMPLETE_JOURNEY
from vitrina.lake.datasets.diginetica import DIGINETICA
from vitrina.lake.datasets.hm import HM
from vitrina.lake.datasets.movielens import MOVIELENS
from vitrina.lake.datasets.otto import OTTO
from vitrina.lake.datasets.rees46 import REES46_COSMETICS, REES46_ELECTRONICS, REES46_MULTI
from vitrina.lake.datasets.retailrocket import RETAILROCKET
from vitrina.lake.datasets.s3rec import S3REC
from vitrina.lake.datasets.yoochoose import YOOCHOOSE

DATASETS: Final[Mapping[str, Dataset]] = {
    dataset.name: dataset
    for dataset in (
        COMPLETE_JOURNEY,
        RETAILROCKET,
        REES46_MULTI,
        REES46_ELECTRONICS,
        REES46_COSMETICS,
        AMAZON_2018,
        AMAZON_2023,
        *MOVIELENS,
        HM,
        DIGINETICA,
        YOOCHOOSE,
        OTTO,
        S3REC,
    )
}


def dataset_named(name: str) -> Dataset:
    """Raises DataError, listing the names there are, for any other."""
    try:
        return DATASETS[name]
    except KeyError:
        raise DataError(
            f"There is no data set '{name}'. There are {', '.join(DATASETS)}."
        ) from None
