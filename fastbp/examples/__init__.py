"""Programs of a few seconds that show what fastbp is for: ``python -m fastbp.examples.cart_pole``, and the others."""
