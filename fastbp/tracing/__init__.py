"""The look inside one pass: every quantity of a sample by its name, as text and as a picture."""
