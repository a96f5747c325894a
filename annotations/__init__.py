"""Annotation files of public data sets, read as records; numpy, gensim and pycocotools live here."""
