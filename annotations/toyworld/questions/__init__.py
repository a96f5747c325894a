"""Questions on the toy world's scenes, their programs and answers."""
