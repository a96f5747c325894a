"""The toy world in the files of each public data set."""
