"""Networks that a Faster R-CNN asks for regions, and what they are built of."""
