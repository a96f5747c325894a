"""What pages are made of, wherever one is written: their environment, their look, pictures and named regions."""
