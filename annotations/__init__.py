"""Annotation files of public data sets, read as records; numpy and pycocotools live here."""
