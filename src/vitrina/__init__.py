"""Vitrina: a relevance engine for shops. Catalog and click stream in, recommendations out."""

__version__ = "0.1.0"
