"""One reader per public data set; each yields the records of `annotations.records`."""
