"""Images to region or grid features; torch models live here."""
