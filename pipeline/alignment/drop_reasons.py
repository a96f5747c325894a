"""Why sentences are left out, as they are counted."""

from stores.formats.sentence_columns import MAX_ID_BYTES

NO_REGIONS = "sentence: image without regions"
NO_FILE = "sentence: image without a file that can be read"
ANOTHERS_NUMBER = "sentence: image's number is there as somebody else's, or as nobody knows whose; see --ids"
OTHER_SIZE = "sentence: image of its number has another size than where it was annotated: another photograph"
OTHER_PROPORTIONS = "sentence: image has other proportions than where it was annotated"
"""Reasons under which sentences are dropped for their images."""

REPEATED = "sentence: id is there twice"
"""Reason under which the later ones of sentences with one id are dropped."""

BAD_ID = f"sentence: id is not 1 to {MAX_ID_BYTES} UTF-8 bytes"
