"""Readers: a shop's files, tables and buckets as raw rows, each with its place."""
