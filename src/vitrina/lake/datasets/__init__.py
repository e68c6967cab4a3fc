"""Public data sets, written in the columns of the lake."""
